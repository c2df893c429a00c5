"""Arrays in ``.npz`` and ``.safetensors`` files: written whole or not at all, and checked before use.

A ``.npz`` file is what ``np.savez`` writes, so that ``np.load`` reads it: an uncompressed zip file with a
member ``<name>.npy`` for each array. A member ``tensorgrad.json`` says what it is; the file's comment is the
SHA-256 of everything before it. A ``.safetensors`` file has both in its metadata, as the format has no
checksum.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

import numpy as np

from tensorgrad.core.checks import NDArray, open_file

__all__ = ["SavedFileError"]

Arrays: TypeAlias = dict[str, NDArray]
Header: TypeAlias = dict[str, Any]
PathLike: TypeAlias = str | os.PathLike[str]

#: Kinds of the dtypes that are saved; none of them holds Python objects.
KINDS = "biufcUS"

_MEMBER = "tensorgrad.json"
_SEAL = b"tensorgrad sha256 "
_SEAL_LENGTH = len(_SEAL) + 64
_HEADER, _DIGEST = "tensorgrad", "sha256"  # in the metadata of .safetensors
_STALE_SECONDS = 3600
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<c8", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip


class SavedFileError(ValueError):
    """A saved file was refused: it is damaged, of another kind or version, or not safe to read."""


def write_arrays(path: PathLike, header: Header, arrays: Arrays) -> None:
    """Write ``header`` and the arrays, atomically, as the path ends: in ``.npz`` or ``.safetensors``.

    Raises
    ------
    ValueError
        If the path has another ending.
    OSError, ImportError
        As `write_npz` and `write_safetensors`.
    """
    (write_npz if _is_npz(path) else write_safetensors)(path, header, arrays)


def read_arrays(path: PathLike) -> tuple[Header | None, Arrays]:
    """The header, None in a file that another program wrote, and the arrays; see `read_npz`."""
    return (read_npz if _is_npz(path) else read_safetensors)(path)


def _is_npz(path: PathLike) -> bool:
    suffix = Path(path).suffix
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"expected a file name that ends in .npz or .safetensors, got {str(path)!r}")
    return suffix == ".npz"


def check_header(header: Header | None, form: str, version: int, entries: set[str]) -> Header:
    """The header, if it is one of that format, of that version or an older one; SavedFileError otherwise."""
    if header is None or header.get("format") != form:
        found = "no header of tensorgrad" if header is None else f"the format {header.get('format')!r}"
        raise SavedFileError(f"expected a {form}, got a file with {found}")
    found_version = header.get("version")
    if type(found_version) is not int or found_version < 1:
        raise SavedFileError(f"the version {found_version!r} is no positive integer")
    if found_version > version:
        raise SavedFileError(
            f"a newer tensorgrad wrote it: the {form} has version {found_version}, this tensorgrad "
            f"reads up to {version}"
        )
    if header.keys() != {"format", "version", *entries}:
        raise SavedFileError(f"the header has the entries {', '.join(header)}")
    return header


# Writing


def write_atomically(path: PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Give ``path`` the contents that ``write`` writes, in one step: a reader finds the old file or the new.

    The contents go to a temporary file in the same folder, which is flushed to the disk and then renamed.
    Killed in between, the process leaves the old file, and a temporary one that a later call removes when it
    is an hour old.

    Raises
    ------
    OSError
        If the folder is missing or cannot be written, or the disk is full. The old file is as it was.
    """
    target = Path(os.path.realpath(path))  # what a link points to is replaced, not the link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        if target.exists() and not target.is_file():
            raise OSError(errno.EINVAL, "it is a pipe or a device")
        _remove_stale(target)
        try:
            with open(temporary, "xb+") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        reason = f"cannot write {os.fspath(path)}: {error.strerror or error}; what was there is as it was"
        raise OSError(error.errno, reason) from error


def _remove_stale(target: Path) -> None:
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.tmp")
    with contextlib.suppress(OSError):  # the folder may not be readable; other files are not our task
        for entry in os.scandir(target.parent):
            if pattern.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _STALE_SECONDS:
                os.unlink(entry.path)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk. The file is already in place, so that failing is no error."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_npz(path: PathLike, header: Header, arrays: Arrays) -> None:
    """Write ``header``, as JSON, and the arrays, atomically. The path is taken as it is.

    Raises
    ------
    TypeError
        If an array is of another dtype than numbers, booleans and strings.
    OSError
        As `write_atomically`.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in KINDS:
            raise TypeError(f"{name}: arrays of {array.dtype} cannot be saved")
    text = json.dumps(header).encode()
    write_atomically(path, lambda file: _write_members(file, text, arrays))


def _write_members(file: BinaryIO, header: bytes, arrays: Arrays) -> None:
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
    try:
        archive.writestr(_member(_MEMBER), header)
        for name, array in arrays.items():
            with archive.open(_member(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    except BaseException:
        # The disk may be full. Left open, the archive would be ended when it is collected, and complain.
        with contextlib.suppress(Exception):
            archive.close()
        raise
    archive.close()
    # The seal is the archive's comment: its length stands in the last two bytes, the text follows.
    file.seek(-2, os.SEEK_END)
    file.write(_SEAL_LENGTH.to_bytes(2, "little"))
    file.write(_SEAL + _hash_file(file, file.tell()).encode())


def _member(name: str) -> zipfile.ZipInfo:
    # Always the same date, so that the same contents make the same file.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    if info.filename != name or not name.isprintable():
        raise ValueError(f"{name!r} cannot be the name of an array in a file")
    return info


def _hash_file(file: IO[bytes], length: int) -> str:
    """SHA-256 of the first bytes, so many."""
    file.seek(0)
    digest = hashlib.sha256()
    while length > 0 and (part := file.read(min(length, 1 << 20))):
        digest.update(part)
        length -= len(part)
    return digest.hexdigest()


def write_safetensors(path: PathLike, header: Header, arrays: Arrays) -> None:
    """Write the header, as metadata, and the arrays, atomically."""
    # The package writes memory as it lies, and scrambles arrays that are not in C order.
    ordered = {name: np.array(array, order="C") for name, array in arrays.items()}
    text = json.dumps(header)
    metadata = {_HEADER: text, _DIGEST: _hash_arrays(text, ordered)}
    contents = _import_package("writing", path).numpy.save(ordered, metadata)
    write_atomically(path, lambda file: file.write(contents))


# Reading


@contextlib.contextmanager
def refusing(path: PathLike) -> Iterator[None]:
    """Whatever goes wrong inside is a SavedFileError that names the file."""
    try:
        yield
    except SavedFileError as error:
        raise SavedFileError(f"{os.fspath(path)}: {error}") from error.__cause__
    except MemoryError:
        raise
    except Exception as error:
        raise SavedFileError(f"{os.fspath(path)}: the file is damaged: {error!r}") from error


def read_npz(path: PathLike) -> tuple[Header | None, Arrays]:
    """The header, None in a file of ``np.savez``, and the arrays. Nothing is unpickled or decompressed.

    Raises
    ------
    SavedFileError
        If the file is anything but an intact archive.
    OSError
        If the file is missing or cannot be opened.
    """
    with open_file(path) as file, refusing(path):
        size = os.fstat(file.fileno()).st_size
        start = file.read(4)
        if start not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise SavedFileError(
                f"no archive of arrays; it starts with {start!r}" if start else "it is empty"
            )
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise SavedFileError(f"the archive is damaged or cut off: {error}") from error
        with archive:
            if archive.comment:
                _check_seal(file, size, archive.comment)
            members = archive.infolist()
            _check_members(members, size)
            header = None
            if any(member.filename == _MEMBER for member in members):
                if not archive.comment:
                    raise SavedFileError("the archive is damaged: it has lost its checksum")
                header = _parse_header(archive.read(_MEMBER))
            arrays = {
                member.filename.removesuffix(".npy"): _read_member(archive, member)
                for member in members
                if member.filename != _MEMBER
            }
    return header, arrays


def _check_seal(file: IO[bytes], size: int, comment: bytes) -> None:
    if not comment.startswith(_SEAL[: len(comment)]):
        raise SavedFileError(f"the archive has a comment that tensorgrad did not write: {comment[:40]!r}")
    if len(comment) != _SEAL_LENGTH:
        raise SavedFileError("the file is damaged or cut off: its checksum is not whole")
    if _hash_file(file, size - _SEAL_LENGTH) != comment[len(_SEAL) :].decode("ascii", "replace"):
        raise SavedFileError("the file is damaged: its checksum does not fit")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise SavedFileError(f"two members have the name {max(names, key=names.count)}")
    for member in members:
        if member.filename != _MEMBER and not member.filename.endswith(".npy"):
            raise SavedFileError(f"it has a member {member.filename!r}, which is no array")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise SavedFileError(
                f"{member.filename} is compressed; only uncompressed archives (np.savez) are read"
            )
    total = sum(member.file_size for member in members)
    if total > size:
        raise SavedFileError(f"its members claim {total} bytes, but the file has {size}")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray:
    with refusing(member.filename), archive.open(member) as file:
        return read_array(file, member.file_size)


def read_array(file: IO[bytes], size: int) -> NDArray:
    """The array in a ``.npy`` file of ``size`` bytes, which holds nothing else. Nothing is unpickled.

    Raises
    ------
    SavedFileError
        If it is not one whole array of numbers, booleans or strings.
    Exception
        What NumPy raises at a damaged header, which it evaluates: nearly anything. See `refusing`.
    """
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise SavedFileError(f"arrays of npy version {version} are not read")
    shape, fortran_order, dtype = _READERS[version](file)
    if dtype.kind not in KINDS or not dtype.itemsize:
        raise SavedFileError(f"arrays of dtype {dtype} are not read")
    if min(shape, default=0) < 0:
        raise SavedFileError(f"the shape {shape} is negative")
    length = math.prod(shape) * dtype.itemsize  # Python's integers, which do not overflow
    if length > size:
        raise SavedFileError(f"{dtype} {shape} needs {length} bytes; there are {size}")
    values = file.read(length)
    if len(values) < length or file.read(1):  # reading to the end also compares the CRC of a member
        raise SavedFileError(f"expected {length} bytes of values, got others")
    _check_bool(dtype, values)
    array = np.frombuffer(values, dtype) if length else np.zeros(0, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C").copy(order="K")


def _check_bool(dtype: np.dtype[Any], values: bytes) -> None:
    if dtype.kind == "b" and values.strip(b"\x00\x01"):
        raise SavedFileError("the bool array has values that are neither True nor False")


def read_safetensors(path: PathLike) -> tuple[Header | None, Arrays]:
    """The header, None in a file that another program wrote, and the arrays. BF16 is read as float32.

    Raises
    ------
    SavedFileError
        If the file is anything but an intact safetensors file.
    """
    package = _import_package("reading", path)
    with open_file(path) as file:
        contents = file.read()
    with refusing(path):
        arrays: Arrays = {name: _make_array(name, view) for name, view in package.deserialize(contents)}
        length = int.from_bytes(contents[:8], "little")
        metadata = json.loads(contents[8 : 8 + length]).get("__metadata__") or {}
        if _HEADER not in metadata:
            return None, arrays
        header = metadata[_HEADER]
        if metadata.get(_DIGEST) != _hash_arrays(header, arrays):
            raise SavedFileError("the file is damaged: its checksum does not fit")
        return _parse_header(header), arrays


def _make_array(name: str, view: Mapping[str, Any]) -> NDArray:
    kind, data = view["dtype"], view["data"]
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(view["shape"])
    if kind not in _SAFETENSORS:
        raise SavedFileError(f"{name} is an array of {kind}, which NumPy does not have; save it anew as F32")
    dtype = np.dtype(_SAFETENSORS[kind])
    _check_bool(dtype, data)
    return np.frombuffer(data, dtype).reshape(view["shape"])


def _import_package(doing: str, path: PathLike) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f"{doing} {path} needs safetensors; install it with pip install 'tensorgrad-numpy[safetensors]', "
            "or use .npz"
        ) from error
    return safetensors


def _hash_arrays(header: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _parse_header(text: str | bytes) -> Header:
    """The JSON object in ``text``; SavedFileError if it is none or has an entry twice."""
    header = json.loads(text, object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise SavedFileError("the header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise SavedFileError(f"the header has an entry twice: {', '.join(key for key, _ in pairs)}")
    return found

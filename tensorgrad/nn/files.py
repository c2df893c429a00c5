"""Files that are written whole or not at all, and archives of arrays that are checked before use.

An archive is what ``np.savez`` writes, so that ``np.load`` reads it: an uncompressed zip file with a member
``<name>.npy`` for each array. A member ``tensorgrad.json`` says what it is; the comment of the zip file is
the SHA-256 of everything before it.
"""

from __future__ import annotations

import contextlib
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

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]
PathLike: TypeAlias = str | os.PathLike[str]

_HEADER = "tensorgrad.json"
_SEAL = b"tensorgrad sha256 "
_SEAL_LENGTH = len(_SEAL) + 64
_KINDS = "biufcUS"  # of dtypes; none of these holds Python objects
_STALE_SECONDS = 3600


class SavedFileError(ValueError):
    """A saved file was refused: it is damaged, of another kind or version, or not safe to read."""


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


def write_archive(path: PathLike, header: dict[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write ``header``, as JSON, and the arrays, atomically.

    Raises
    ------
    TypeError
        If an array is of another dtype than numbers, booleans and strings.
    OSError
        As `write_atomically`.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"{name}: arrays of {array.dtype} cannot be saved")
    text = json.dumps(header).encode()
    write_atomically(path, lambda file: _write_members(file, text, arrays))


def _write_members(file: BinaryIO, header: bytes, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
    try:
        archive.writestr(_member(_HEADER), header)
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
    file.seek(0)
    seal = _SEAL + _digest(file, None).encode()
    file.seek(0, os.SEEK_END)
    file.write(seal)


def _member(name: str) -> zipfile.ZipInfo:
    # Always the same date, so that the same contents make the same file.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    if info.filename != name or not name.isprintable():
        raise ValueError(f"{name!r} cannot be the name of an array in a file")
    return info


def _digest(file: IO[bytes], length: int | None) -> str:
    """SHA-256 of so many bytes from here on, or of all."""
    digest = hashlib.sha256()
    while length is None or length > 0:
        part = file.read(1 << 20 if length is None else min(length, 1 << 20))
        if not part:
            break
        digest.update(part)
        length = None if length is None else length - len(part)
    return digest.hexdigest()


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


def read_archive(path: PathLike) -> tuple[dict[str, Any] | None, Arrays]:
    """The header, None in a file of ``np.savez``, and the arrays. Nothing is unpickled or decompressed.

    Raises
    ------
    SavedFileError
        If the file is anything but an intact archive.
    OSError
        If the file is missing or cannot be opened.
    """
    with open(path, "rb") as file, refusing(path):
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
            _check_seal(file, size, archive.comment)
            members = archive.infolist()
            _check_members(members, size)
            header = None
            if any(member.filename == _HEADER for member in members):
                if not archive.comment:
                    raise SavedFileError("the archive is damaged: it has lost its checksum")
                header = parsed_header(archive.read(_HEADER))
            arrays = {
                member.filename.removesuffix(".npy"): _read_array(archive, member)
                for member in members
                if member.filename != _HEADER
            }
    return header, arrays


def _check_seal(file: IO[bytes], size: int, comment: bytes) -> None:
    if not comment:
        return
    if not comment.startswith(_SEAL[: len(comment)]):
        raise SavedFileError(f"the archive has a comment that tensorgrad did not write: {comment[:40]!r}")
    if len(comment) != _SEAL_LENGTH:
        raise SavedFileError("the file is damaged or cut off: its checksum is not whole")
    file.seek(0)
    if _digest(file, size - _SEAL_LENGTH) != comment[len(_SEAL) :].decode("ascii", "replace"):
        raise SavedFileError("the file is damaged: its checksum does not fit")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise SavedFileError(f"two members have the name {max(names, key=names.count)}")
    for member in members:
        if member.filename != _HEADER and not member.filename.endswith(".npy"):
            raise SavedFileError(f"it has a member {member.filename!r}, which is no array")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise SavedFileError(
                f"{member.filename} is compressed; only uncompressed archives (np.savez) are read"
            )
    total = sum(member.file_size for member in members)
    if total > size:
        raise SavedFileError(f"its members claim {total} bytes, but the file has {size}")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise SavedFileError(f"{member.filename}: arrays of npy version {version} are not read")
        if dtype.kind not in _KINDS or not dtype.itemsize:
            raise SavedFileError(f"{member.filename}: arrays of dtype {dtype} are not read")
        if min(shape, default=0) < 0:
            raise SavedFileError(f"{member.filename}: the shape {shape} is negative")
        length = math.prod(shape) * dtype.itemsize  # Python's integers, which do not overflow
        if length > member.file_size:
            raise SavedFileError(
                f"{member.filename}: {dtype} {shape} needs {length} bytes; the member has {member.file_size}"
            )
        values = file.read(length)
        if len(values) < length or file.read(1):  # reading to the end also compares the CRC
            raise SavedFileError(f"{member.filename}: expected {length} bytes of values, got others")
    if dtype.kind == "b" and values.strip(b"\x00\x01"):
        raise SavedFileError(f"{member.filename}: the bool array has values that are neither True nor False")
    array = np.frombuffer(values, dtype) if length else np.zeros(0, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C").copy(order="K")


def parsed_header(text: str | bytes) -> dict[str, Any]:
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

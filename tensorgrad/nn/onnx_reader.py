"""What is in an ONNX file, checked as a whole before anything is built of it.

A file is data from strangers: nothing in it is executed, and no other file is read but data in the same
folder that it names.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core.checks import NDArray, open_file
from tensorgrad.graph.export.onnx_model import import_onnx
from tensorgrad.nn.files.archive import PathLike, SavedFileError, refusing
from tensorgrad.nn.onnx_export import SEAL, make_seal
from tensorgrad.nn.onnx_operators import MOST_ELEMENTS, OPERATORS, SEVERAL, attributes_of

#: A shape, with None for lengths that may differ, or None for any; and a dtype.
Declared: TypeAlias = tuple[tuple[int | None, ...] | None, np.dtype[Any]]

DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}
OLDEST = 7  # operator set; before it, arrays broadcast by other rules


@dataclass(eq=False)
class Node:
    """A call of an operator. After it, the values named in ``last`` are needed no more."""

    name: str
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    last: list[str] = field(default_factory=list)

    def compute(self, *arrays: Any) -> Sequence[Any]:
        """The results, in order."""
        try:
            made = OPERATORS[self.operator](*arrays, **self.attributes)
        except (TypeError, ValueError, IndexError) as error:
            shapes = ", ".join(str(np.shape(x)) for x in arrays)
            raise ValueError(f"{self.operator} {self.name!r}, given {shapes}: {error}") from error
        return made if isinstance(made, tuple) else (made,)


@dataclass
class Contents:
    """What a file computes: nodes in order, arrays by name, and the names of what goes in and comes out."""

    nodes: list[Node]
    arrays: dict[str, NDArray]
    inputs: dict[str, Declared]
    outputs: list[str]


def read_model(path: PathLike, outputs: str | Sequence[str] | None) -> Contents:
    """What computes these outputs of a file.

    Raises
    ------
    SavedFileError
        If the file is no whole ONNX file of known operators.
    """
    onnx = import_onnx("from_onnx")
    with open_file(path) as file:
        contents = file.read()
    with refusing(path):
        model = onnx.ModelProto()
        try:
            model.ParseFromString(contents)
        except Exception as error:
            raise SavedFileError(f"it is no ONNX file, or cut off: {error}") from error
        _check_seal(model, contents)
        return _Reader(onnx, model, Path(path).parent).read(outputs)


def _check_seal(model: Any, contents: bytes) -> None:
    """Hold the file against the checksum that to_onnx puts at its end."""
    length = len(make_seal(b""))
    sealed = SEAL.encode() in contents[-length:] or any(entry.key == SEAL for entry in model.metadata_props)
    if not sealed and model.producer_name != "tensorgrad":
        return
    if contents[-length:] != make_seal(contents[:-length]):
        raise SavedFileError(
            "the file is damaged: its checksum does not fit; if another program changed it on purpose, let "
            f"it remove the entry {SEAL!r} from the metadata, and the producer's name"
        )


class _Reader:
    def __init__(self, onnx: Any, model: Any, folder: Path) -> None:
        self.onnx, self.model, self.graph, self.folder = onnx, model, model.graph, folder
        self.opset = 0
        self.beside: dict[Path, int] = {}  # how many bytes of each file beside may still be asked for

    def read(self, outputs: str | Sequence[str] | None) -> Contents:
        if not self.graph.node or not self.graph.output:
            raise SavedFileError("it is no ONNX file: there is no graph in it")
        self._check_versions()
        results = self._choose(outputs)
        needed = self._find_needed(results)
        self._check_operators(needed)
        for tensor in self._tensors():
            self._load_beside(tensor)
        if self.model.ByteSize() >= 1 << 31:
            raise SavedFileError("it has more than 2 GB, which the package onnx cannot check")
        self.onnx.checker.check_model(self.model, full_check=True)
        wanted = {name for node in needed for name in node.input} | set(results)
        arrays = {x.name: self._array(x) for x in self.graph.initializer if x.name in wanted}
        given = {x.name: self._declared(x) for x in self.graph.input if x.name in wanted - arrays.keys()}
        if not given:
            raise SavedFileError("what it computes does not depend on an input")
        self._check_sizes()
        nodes = []
        for node in needed:
            attributes = {x.name: self._attribute(x) for x in node.attribute}
            if node.op_type == "Constant":
                arrays[node.output[0]] = _read_constant(attributes)
            elif node.op_type == "Identity" and node.input[0] in arrays:  # so equal weights share their bytes
                arrays[node.output[0]] = arrays[node.input[0]]
            else:
                nodes.append(self._node(node, attributes))
        own = {id(x): x.size for x in arrays.values()}
        if sum(x.size for x in arrays.values()) > MOST_ELEMENTS + sum(own.values()):
            raise SavedFileError("its arrays come again and again, and would not fit into memory")
        _note_last(nodes, {*results, *arrays})
        return Contents(nodes, arrays, given, results)

    def _check_versions(self) -> None:
        for entry in self.model.opset_import:
            if DOMAINS.get(entry.domain) == "":
                self.opset = entry.version
        newest = self.onnx.defs.onnx_opset_version()
        if not OLDEST <= self.opset <= newest:
            raise SavedFileError(f"expected operators of the opset {OLDEST} to {newest}, got {self.opset}")

    def _choose(self, outputs: str | Sequence[str] | None) -> list[str]:
        there = [x.name for x in self.graph.output]
        chosen = there if outputs is None else [outputs] if isinstance(outputs, str) else [*outputs]
        if outputs is None and len(there) > 1:
            raise SavedFileError(f"it has several results; choose by outputs= from {', '.join(there)}")
        if not chosen or any(name not in there for name in chosen):
            raise SavedFileError(f"expected outputs from {', '.join(there)}, got {outputs!r}")
        return chosen

    def _find_needed(self, results: Iterable[str]) -> list[Any]:
        """The nodes that the results depend on."""
        needed, nodes = set(results), []
        for node in reversed(self.graph.node):
            if needed & set(node.output):
                nodes.append(node)
                needed.update(node.input)
        return nodes[::-1]

    def _check_operators(self, nodes: Iterable[Any]) -> None:
        """SavedFileError with all that is not known."""
        unknown: Counter[str] = Counter()
        read = {name for node in self.graph.node for name in node.input} | {x.name for x in self.graph.output}
        for node in nodes:
            name = node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
            if name == "Constant":
                continue
            if name not in OPERATORS:
                unknown[name] += 1
                continue
            for extra in {x.name for x in node.attribute} - attributes_of(OPERATORS[name]):
                unknown[f"{name} with {extra}"] += 1
            if name not in SEVERAL and any(output in read for output in node.output[1:]):
                unknown[f"{name} with several results"] += 1
        if unknown:
            listed = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
            raise SavedFileError(f"it has operators that are not known: {listed}")

    def _tensors(self) -> Iterator[Any]:
        yield from self.graph.initializer
        yield from (a.t for node in self.graph.node for a in node.attribute if a.HasField("t"))

    def _load_beside(self, tensor: Any) -> None:
        """Take in the values that lie in a file beside."""
        if tensor.data_location != self.onnx.TensorProto.EXTERNAL:
            return
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place, root = Path(entries.get("location", "")), Path(os.path.realpath(self.folder))
        target = Path(os.path.realpath(root / place))
        if place.is_absolute() or not target.is_relative_to(root) or target == root:
            raise SavedFileError(f"the data of {tensor.name} lies outside of the file's folder: {place}")
        size = math.prod(tensor.dims) * self._dtype(tensor.data_type, tensor.name).itemsize
        start = int(entries.get("offset", 0))
        if min(tensor.dims, default=0) < 0 or int(entries.get("length", size)) != size or start < 0:
            raise SavedFileError(f"the data of {tensor.name} does not fit its shape {[*tensor.dims]}")
        with open_file(target) as file:
            if start + size > os.fstat(file.fileno()).st_size:
                raise SavedFileError(f"the data of {tensor.name} is not whole: {place} is cut off")
            left = self.beside.setdefault(target, os.fstat(file.fileno()).st_size + MOST_ELEMENTS) - size
            if left < 0:
                raise SavedFileError(f"its arrays ask for the same bytes of {place} again and again")
            self.beside[target] = left
            file.seek(start)
            tensor.raw_data = file.read(size)
        tensor.data_location = self.onnx.TensorProto.DEFAULT
        del tensor.external_data[:]

    def _check_sizes(self) -> None:
        """Refuse what would grow beyond memory even for one row: a few bytes can ask for it.

        Values are not followed: that itself would grow.
        """
        for x in self.graph.input:
            for length in x.type.tensor_type.shape.dim:
                length.dim_value = length.dim_value or 1
        for x in self.onnx.shape_inference.infer_shapes(self.model).graph.value_info:
            lengths = [abs(d.dim_value) or 1 for d in x.type.tensor_type.shape.dim]
            if math.prod(lengths) > MOST_ELEMENTS:
                raise SavedFileError(f"{x.name} would have the shape {lengths}")

    def _dtype(self, number: int, name: str) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(number))
        if dtype.kind not in "biuf" or dtype.type.__module__ != "numpy":
            raise SavedFileError(f"{name} is of the type {dtype}, which is not read")
        return dtype

    def _array(self, tensor: Any) -> NDArray:
        self._dtype(tensor.data_type, tensor.name)
        return np.array(self.onnx.numpy_helper.to_array(tensor))

    def _attribute(self, attribute: Any) -> Any:
        value = self.onnx.helper.get_attribute_value(attribute)
        if attribute.name == "to":
            return self._dtype(value, "a Cast")
        if attribute.type == self.onnx.AttributeProto.TENSOR:
            return self._array(value)
        value = value.decode() if isinstance(value, bytes) else value
        if not isinstance(value, (int, float, str, list)):
            raise SavedFileError(f"the attribute {attribute.name} is not read")
        return value

    def _node(self, node: Any, attributes: dict[str, Any]) -> Node:
        known = attributes_of(OPERATORS[node.op_type])
        attributes |= {"opset": self.opset} if "opset" in known else {}
        attributes |= {"count": len(node.output)} if "count" in known else {}
        name = node.name or (node.output[0] if node.output else "")
        return Node(name, node.op_type, [*node.input], [*node.output], attributes)

    def _declared(self, x: Any) -> Declared:
        kind = x.type.tensor_type
        lengths = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
        return lengths if kind.HasField("shape") else None, self._dtype(kind.elem_type, x.name)


def _read_constant(attributes: dict[str, Any]) -> NDArray:
    ((name, value),) = attributes.items()
    if name == "value":
        return np.asarray(value)
    if name not in ("value_float", "value_floats", "value_int", "value_ints"):
        raise SavedFileError(f"a Constant has a {name}, which is not read")
    return np.array(value, np.float32 if "float" in name else np.int64)


def _note_last(nodes: Iterable[Node], kept: set[str]) -> None:
    """Note after which node each value is needed no more."""
    seen = kept | {""}
    for node in reversed([*nodes]):
        node.last = sorted({*node.inputs, *node.outputs} - seen)
        seen.update(node.last)

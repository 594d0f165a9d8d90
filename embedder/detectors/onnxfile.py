"""ONNX files: found inside installed packages without importing those, cut to the part that is used, opened.

A model file is protobuf (onnx.proto3). Only the names of tensors are read here, so no ONNX package is needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

GRAPH, NODE, GRAPH_NAME, WEIGHT, INPUT, OUTPUT = 7, 1, 2, 5, 11, 12  # field numbers of ModelProto and GraphProto
WEIGHTS = (".safetensors", ".bin", ".pt", ".onnx")
FLOAT = b"\x08\x01"  # TypeProto.Tensor: elem_type = FLOAT, no shape


def packaged(package: str, file: str) -> Path:
    """A file of an installed package, which is not imported. Raises ValueError if it is not installed."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.exists():
        raise ValueError(f"{package} is not installed: pip install 'curate[safety]', or turn its detector off in [sanitized]")
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and the contents' SHA-256 of the weights files in a folder, by name."""
    joined = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in WEIGHTS):
        with path.open("rb") as file:
            joined.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return joined.hexdigest()


def session(model: bytes | str, device: str) -> Any:
    """An onnxruntime session on one thread; on CUDA if asked for and built in.

    Raises ValueError if onnxruntime is not installed, or if the model is none.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("onnxruntime is not installed: pip install 'curate[safety]'") from None
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    wanted = ["CUDAExecutionProvider"] if device == "cuda" else []
    providers = [p for p in wanted if p in onnxruntime.get_available_providers()] + ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes share no base but this
        raise ValueError(f"not a usable ONNX model: {str(error).splitlines()[0]}") from error


def part(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The part of a model that makes `outputs` from `inputs`, names of float tensors; both may then have any size.

    Weights are no inputs of it, even where the model lists them as such: onnxruntime folds only constants into its
    convolutions. Raises ValueError if the model has no such tensors. Not for models with loops or branches.
    """
    given, wanted = [name.encode() for name in inputs], [name.encode() for name in outputs]
    return b"".join(
        _field(GRAPH, _part(list(fields(body)), given, wanted)) if number == GRAPH else raw
        for number, body, raw in fields(model)
    )


def _part(graph: Sequence[tuple[int, bytes, bytes]], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    weights = {_names(body, 8).pop(): raw for number, body, raw in graph if number == WEIGHT}
    needed, made, nodes = set(outputs), set(inputs), list[bytes]()
    for number, body, raw in reversed(graph):  # a node comes after those that it needs
        if number == NODE and (_names(body, 2) & needed) - set(inputs):
            nodes, needed, made = [raw, *nodes], needed | _names(body, 1), made | _names(body, 2)
    lacking = needed - made - weights.keys() - {b""}
    if lacking:
        raise ValueError(f"the model has no tensor {min(lacking).decode()}: it is of another version")
    named = [raw for number, _, raw in graph if number == GRAPH_NAME]
    ends = [_field(INPUT, _any_size(name)) for name in inputs] + [_field(OUTPUT, _any_size(name)) for name in outputs]
    return b"".join([*nodes, *named, *(weights[name] for name in sorted(needed & weights.keys())), *ends])


def _any_size(name: bytes) -> bytes:
    return _field(1, name) + _field(2, _field(1, FLOAT))


def _names(message: bytes, number: int) -> set[bytes]:
    return {body for found, body, _ in fields(message) if found == number}


def fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, content, the field as it stands) of a protobuf message; numbers have empty content."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        if key & 7 == 2:
            length, at = _varint(message, at)
            body, at = message[at : at + length], at + length
        elif key & 7 == 0:
            body, at = b"", _varint(message, at)[1]
        else:
            body, at = b"", at + {1: 8, 5: 4}[key & 7]
        yield key >> 3, body, message[start:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _field(number: int, body: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(body)) + body


def _number(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])

"""ONNX files: found inside installed packages without importing those, opened in onnxruntime, sizes made free.

A model file is protobuf (onnx.proto3). Only its outermost fields are touched here, so no ONNX package is needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRAPH, INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 7, 5, 11, 12  # field numbers of ModelProto and GraphProto
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


def session(model: bytes | str, device: str) -> Any:
    """An onnxruntime session on one thread; on CUDA if asked for and built in. Raises ValueError if it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("onnxruntime is not installed: pip install 'curate[safety]'") from None
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    wanted = ["CUDAExecutionProvider"] if device == "cuda" else []
    providers = [p for p in wanted if p in onnxruntime.get_available_providers()] + ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model, options, providers=providers)


def with_free_sizes(model: bytes) -> bytes:
    """The model with inputs and outputs of no stated size, so that it takes images of any.

    Weights that are listed as inputs too are taken off that list: onnxruntime folds only constants into its convolutions.
    """
    out = b""
    for number, body, raw in fields(model):
        out += _field(GRAPH, _free_graph(body)) if number == GRAPH else raw
    return out


def _free_graph(graph: bytes) -> bytes:
    weights = {_name(body, 8) for number, body, _ in fields(graph) if number == INITIALIZER}
    out = b""
    for number, body, raw in fields(graph):
        if number not in (GRAPH_INPUT, GRAPH_OUTPUT):
            out += raw
        elif _name(body, 1) not in weights:
            out += _field(number, _field(1, _name(body, 1)) + _field(2, _field(1, FLOAT)))
    return out


def _name(message: bytes, number: int) -> bytes:
    return next(body for found, body, _ in fields(message) if found == number)


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

"""Whether an ONNX file may be opened: everything must be in this one file.

A tensor of an ONNX file may lie in another file, which the file names: a path out of the folder,
or a link, would have us read whatever a stranger likes. Exported graphs have no such tensor, so any
is refused, before the runtime sees the file. The file is protocol buffers; what is looked at here
are the few fields that lead to tensors, by their numbers in `onnx.proto3`.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from lasttoken.errors import BackboneError

# Message to the fields that lead to tensors, as (number, message there).
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # of a tensor
_VARINT, _BYTES = 0, 2  # how a field is written
_FIXED = {1: 8, 5: 4}  # likewise, to its bytes
_DEEPEST = 64  # graphs inside of graphs


def refuse_external_data(path: Path) -> None:
    """Refuse an ONNX file with tensors in other files.

    Raises:
        BackboneError: it has some, is empty, or is no ONNX file.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            outside = next(_external_tensors(content), None)
    except (OSError, ValueError, IndexError) as error:
        raise BackboneError(
            f"{path}: {getattr(error, 'strerror', None) or error}",
            expected="a whole ONNX file",
            remedy="copy it again, or export the run again",
        ) from error
    if outside is not None:
        raise BackboneError(
            f"{path}: the tensor {outside[:80]!r} lies in another file",
            expected="one file with all weights in it, as lasttoken export writes it",
            remedy="export the run again; do not load this one",
        )


def _external_tensors(content: mmap.mmap) -> Iterator[str]:
    """Yield the names of tensors that lie elsewhere.

    Raises:
        ValueError: these are no protocol buffers, or graphs nested too deeply.
        IndexError: they end too early.
    """
    left = [("model", 0, len(content), 0)]
    while left:  # no recursion: depth is the stranger's choice
        message, start, stop, depth = left.pop()
        if depth > _DEEPEST:
            raise ValueError("graphs nested too deeply")
        fields = _fields(content, start, stop)
        if message == "tensor":
            name, is_external = "", False
            for number, wire_type, first, last in fields:
                if number == _NAME and wire_type == _BYTES:
                    name = content[first : min(last, first + 200)].decode("utf-8", "replace")
                is_external |= number == _EXTERNAL_DATA
                is_external |= number == _DATA_LOCATION and first != 0
            if is_external:
                yield name
            continue
        inner = _FIELDS[message]
        left += [
            (inner[number], first, last, depth + 1)
            for number, wire_type, first, last in fields
            if number in inner and wire_type == _BYTES
        ]


def _fields(content: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: number, wire type, where the value begins and ends.

    Of a number (`_VARINT`) its value stands in the place of where it begins.
    """
    place = start
    while place < stop:
        key, place = _varint(content, place)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise ValueError("no ONNX file: a field without a number")
        if wire_type == _VARINT:
            value, place = _varint(content, place)
            yield number, wire_type, value, place
            continue
        if wire_type == _BYTES:
            length, place = _varint(content, place)
        elif wire_type in _FIXED:
            length = _FIXED[wire_type]
        else:
            raise ValueError(f"no ONNX file: a field of type {wire_type}")
        if place + length > stop:
            raise ValueError("no whole ONNX file: it ends too early")
        yield number, wire_type, place, place + length
        place += length
    if place != stop:
        raise ValueError("no whole ONNX file: it ends too early")


def _varint(content: mmap.mmap, place: int) -> tuple[int, int]:
    """Return a number of variable length, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("no ONNX file: a number of more than 10 bytes")

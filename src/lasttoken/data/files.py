"""One file opened: found, proved to be text in its encoding, and read line by line."""

from __future__ import annotations

import codecs
import difflib
import io
import os
import stat
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from lasttoken.data.archives import refuse_archive
from lasttoken.errors import DatasetError

STDIN = "-"

_HEAD_BYTES = 8192
_BUFFER_BYTES = 1 << 16  # also the most that can be peeked at
_MAGIC = (
    (b"PAR1", "a Parquet file", "rename it to .parquet"),
    (b"PK\x03\x04", "a zip archive or an .xlsx workbook", "unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an .xls workbook", "save it as CSV"),
    (b"\x1f\x8b", "gzip data", "unpack it first: gunzip FILE"),
    (b"BZh", "bzip2 data", "unpack it first: bunzip2 FILE"),
    (b"%PDF", "a PDF file", "export its text to CSV"),
)


def shown_name(path: str) -> str:
    """Return the name by which messages call `path`."""
    return "standard input" if path == STDIN else path


def find_path(path: str) -> Path:
    """Return `path` as an existing path, "~" expanded.

    Raises:
        DatasetError: nothing is there; names the nearest existing path. Or it is an archive.
    """
    found = Path(path).expanduser()
    if not found.exists():
        near = near_path(found)
        raise DatasetError(
            f"{path}: no such file or folder",
            expected="a path that exists",
            remedy=f"did you mean {near}?" if near else "check the path",
        )
    refuse_archive(path)
    return found


def near_path(path: Path) -> str | None:
    """Return an existing path spelled like the missing `path`, or None."""
    parts = path.parts
    here = Path(parts[0]) if path.is_absolute() else Path()
    for place, part in enumerate(parts):
        step = here / part
        if not step.exists():
            try:
                siblings = sorted(os.listdir(here))
            except OSError:
                return None
            close = difflib.get_close_matches(part, siblings, n=1, cutoff=0.6)
            if not close:
                return None
            rest = here.joinpath(close[0], *parts[place + 1 :])
            return str(rest if rest.exists() else here / close[0])
        here = step
    return None


def check_encoding(encoding: str) -> None:
    """Check that Python knows the text encoding.

    Raises:
        DatasetError: `encoding` is unknown or no encoding of text.
    """
    try:
        "".encode(encoding)
    except (LookupError, ValueError, TypeError) as error:
        raise DatasetError(
            f"--encoding {encoding}: unknown encoding",
            expected="an encoding of text, such as utf-8, utf-16, cp1252, latin-1, shift_jis",
            remedy="--encoding utf-8",
        ) from error


class Reach:
    """How far a file has been read: told by who reads it, asked by who waits for it."""

    def __init__(self) -> None:
        self._source: io.BufferedReader[Any] | None = None
        self._num_bytes = 0

    def follow(self, source: io.BufferedReader[Any]) -> None:
        """Watch an opened file; of a pipe nothing can be told."""
        status = os.fstat(source.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size:
            self._source, self._num_bytes = source, status.st_size

    def share(self) -> float | None:
        """Return which share of the file has been read, 0 to 1; None while unknown."""
        if self._source is None:
            return None
        return 1.0 if self._source.closed else self._source.raw.tell() / self._num_bytes


def read_lines(path: str, encoding: str, kind: str, reach: Reach | None = None) -> Generator[str]:
    r"""Yield the lines of a text file with their endings (\n, \r\n or \r) untouched.

    A byte order mark decides between UTF-8, UTF-16 and UTF-32 and is left out.

    Args:
        path: a file or pipe, or "-" for standard input.
        encoding: used where no byte order mark says otherwise.
        kind: "csv", "tsv", "jsonl" or "text", for messages.
        reach: is told how far a file has been read.

    Raises:
        DatasetError: the file is missing, a folder, empty, not text, or not in `encoding`.
    """
    check_encoding(encoding)
    name = shown_name(path)
    source = _open_binary(path)
    if reach is not None and path != STDIN:
        reach.follow(source)
    reader: io.TextIOWrapper | None = None
    try:
        head = source.peek(_HEAD_BYTES)[:_HEAD_BYTES]
        if not head:
            raise _empty(name, kind)
        encoding = encoding_of(head, encoding)
        _check_is_text(name, head, encoding, kind)
        reader = io.TextIOWrapper(source, encoding=encoding, errors="strict", newline="")
        first = reader.readline()
        if not first:  # a byte order mark and nothing else
            raise _empty(name, kind)
        yield first
        yield from reader
    except UnicodeError as error:
        raise decode_error(path, encoding, error) from error
    finally:
        if path == STDIN:
            if reader is not None:
                reader.detach()
            source.detach()  # standard input belongs to the process, not to us
        else:
            source.close()


def _empty(name: str, kind: str) -> DatasetError:
    return DatasetError(
        f"{name}: the file is empty",
        expected=f"{kind} with at least one row",
        remedy="check that the file was written completely",
    )


def encoding_of(head: bytes, encoding: str) -> str:
    """Return the encoding that a byte order mark in `head` tells, else `encoding`."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    return encoding


def decode_error(path: str, encoding: str, error: UnicodeError) -> DatasetError:
    """Return the error for bytes that are no text in `encoding`, with their place in the file."""
    if not isinstance(error, UnicodeDecodeError):  # UTF-16 without its byte order mark
        return DatasetError(
            f"{shown_name(path)}: not {encoding}: {error}",
            expected=f"text encoded in {encoding}",
            remedy="--encoding utf-8, or utf-16-le, or utf-16-be",
        )
    place = ""
    if path != STDIN and Path(path).expanduser().is_file():
        found = _first_bad_byte(Path(path).expanduser(), encoding)
        if found is not None:
            offset, line = found
            place = f" at byte {offset:,} (line {line:,})"
    bad = error.object[error.start : error.start + 1]
    tried = "utf-8" if encoding == "utf-8-sig" else encoding
    other = "cp1252" if codecs.lookup(tried).name == "utf-8" else "utf-8"
    return DatasetError(
        f"{shown_name(path)}: byte 0x{bad.hex()}{place} is not {tried}",
        expected=f"text encoded in {tried}",
        remedy=f"--encoding {other}, or the encoding in which the file was saved",
    )


def _open_binary(path: str) -> io.BufferedReader[Any]:
    if path == STDIN:
        # A second buffer over the process's own, so that peeking costs nothing.
        return io.BufferedReader(sys.stdin.buffer, _BUFFER_BYTES)
    found = find_path(path)
    if found.is_dir():
        raise DatasetError(
            f"{path}: a folder",
            expected="a file",
            remedy="name a file inside that folder",
        )
    try:
        return io.BufferedReader(io.FileIO(found), _BUFFER_BYTES)
    except OSError as error:
        raise DatasetError(
            f"{path}: {error.strerror or error}",
            expected="a file that can be read",
            remedy="check the permissions of the file",
        ) from error


def _check_is_text(name: str, head: bytes, encoding: str, kind: str) -> None:
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise DatasetError(f"{name}: {what}", expected=f"{kind} text", remedy=remedy)
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if not wide and b"\0" in head:
        raise DatasetError(
            f"{name}: binary data (byte {head.index(0):,} is NUL)",
            expected=f"{kind} text",
            remedy="--encoding utf-16 if it was saved as UTF-16, else export it as text",
        )
    start = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower()
    if kind != "text" and start.startswith((b"<!doctype html", b"<html")):
        raise DatasetError(
            f"{name}: an HTML page",
            expected=f"{kind} text",
            remedy="download the raw file instead of the page that shows it",
        )


def _first_bad_byte(path: Path, encoding: str) -> tuple[int, int] | None:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    done = 0
    lines = 1
    with path.open("rb") as file:
        while True:
            chunk = file.read(1 << 20)
            pending = _pending_bytes(decoder)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # Bytes kept back from the chunk before stand in front of this one.
                start = max(0, error.start - pending)
                return done - pending + error.start, lines + chunk[:start].count(b"\n")
            if not chunk:
                return None
            done += len(chunk)
            lines += chunk.count(b"\n")


def _pending_bytes(decoder: codecs.IncrementalDecoder) -> int:
    return len(decoder.getstate()[0])


def read_whole_text(path: Path, encoding: str) -> str:
    """Return the text of a small file without a byte order mark and without its last line end.

    Raises:
        DatasetError: the file cannot be read, or is not in `encoding`.
    """
    try:
        content = path.read_bytes()
        text = content.decode(encoding_of(content[:4], encoding))
    except UnicodeError as error:
        raise decode_error(str(path), encoding_of(content[:4], encoding), error) from error
    except OSError as error:
        raise DatasetError(
            f"{path}: {error.strerror or error}",
            expected="a file that can be read",
            remedy="check the permissions of the file",
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def open_seekable(path: str) -> io.BufferedReader[Any]:
    """Open a file that must be read out of order, as Parquet must.

    Raises:
        DatasetError: it is standard input, missing, or a folder.
    """
    if path == STDIN:
        raise DatasetError(
            "standard input: Parquet cannot be read from a pipe",
            expected="a .parquet file, or lines, CSV, TSV or JSONL on standard input",
            remedy="save it to a file first, and name that file",
        )
    return _open_binary(path)

"""Clients that mean ill, for `serving`: each does one thing over and over, as long as it is let."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable

_HEAD = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def send(port: int, raw: bytes) -> int:
    """Send what may be a request on a connection of its own; return the status, 0 if none came."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(raw)
            line = await reader.readline()
        finally:
            writer.close()
    except ConnectionError:  # closed while we still sent
        return 0
    return int(line.split()[1]) if line else 0


def _post(body: bytes) -> bytes:
    return _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def _million_chunks(port: int) -> int:
    return await send(
        port,
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n",
    )


async def _long_word(port: int) -> int:
    return await send(port, _post(json.dumps({"texts": ["_" * 1_000_000]}).encode()))


async def _gzip(port: int) -> int:
    return await send(port, _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\n\x1f")


async def _nested(port: int) -> int:
    return await send(port, _post(b'{"texts": ' + b"[" * 900_000 + b"]" * 900_000 + b"}"))


async def _escapes(port: int) -> int:
    return await send(port, _post(b'"' + b'\\"' * 990_000))


async def _numbers(port: int) -> int:
    return await send(port, _post(b'{"texts": [' + b"1," * 900_000 + b"1]}"))


async def _slow_head(port: int) -> int:
    """Give a byte now and then, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for byte in _HEAD:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.5)
            if reader.at_eof():
                break
    writer.close()
    return 0


HOSTILE: dict[str, Callable[[int], Awaitable[int]]] = {
    "a body of a million chunks": _million_chunks,
    "a word of a million characters": _long_word,
    "gzip": _gzip,
    "deep nesting": _nested,
    "a million escapes": _escapes,
    "a million numbers": _numbers,
    "fifty slow heads": _slow_head,
}
_AT_A_TIME = {"fifty slow heads": 50}


async def keep_on(port: int, name: str, statuses: Counter[int]) -> None:
    """Do it ten times a second at most, until cancelled; count what came of it."""

    async def one() -> None:
        while True:
            statuses[await HOSTILE[name](port)] += 1
            await asyncio.sleep(0.1)

    await asyncio.gather(*(one() for _ in range(_AT_A_TIME.get(name, 1))))

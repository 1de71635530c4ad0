"""Clients for `serving`: HTTP over asyncio's streams; a library would take the server's time.

Closed loop: so many clients, each asks again when it has its answer. Open loop: requests come at a
rate, whatever the server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Load:
    """What a load met.

    Attributes:
        statuses: status to requests.
        num_texts: texts answered.
        seconds: of the load.
        latencies: status to the seconds of each request.
        answers: place of a text to the probabilities it got last.
        retry_after: of every refusal.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    num_texts: int = 0
    seconds: float = 0.0
    latencies: dict[int, list[float]] = field(default_factory=dict)
    answers: dict[int, list[float]] = field(default_factory=dict)
    retry_after: list[str | None] = field(default_factory=list)


class Connection:
    """One connection that is kept open.

    Args:
        port: of this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the response to one request.

        A server closes connections that were idle for a while. A request that met with that is
        sent again on a new one, as HTTP clients do (RFC 9112, 9.3.1).
        """
        is_reused = self._streams is not None
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            if not is_reused or getattr(error, "partial", b""):
                raise
            self.close()
            return await self.ask(method, path, body)
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:])
        }
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(head[0].split()[1]), headers, content

    async def classify(self, load: Load, texts: Sequence[str], places: Sequence[int]) -> int:
        """Classify some of the texts, note what came of it, and return the status."""
        body = json.dumps({"texts": [texts[p] for p in places], "probabilities": True}).encode()
        started = time.perf_counter()
        status, headers, content = await self.ask("POST", "/classify", body)
        load.latencies.setdefault(status, []).append(time.perf_counter() - started)
        load.statuses[status] += 1
        if status == 200:
            load.num_texts += len(places)
            found = json.loads(content)["predictions"]
            for place, one in zip(places, found, strict=True):
                load.answers[place] = list(one["probabilities"].values())
        elif status in (429, 503):
            load.retry_after.append(headers.get("retry-after"))
        return status

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def closed_loop(
    port: int,
    texts: Sequence[str],
    *,
    num_clients: int,
    per_request: int,
    seconds: float = float("inf"),
    num_requests: float = float("inf"),
    seed: int = 0,
) -> Load:
    """Let clients ask again as soon as they have their answers, for some seconds or requests.

    Every text of a pass over all is asked once, in random order, so that no batch holds copies.
    """
    load = Load()
    started = time.perf_counter()
    chance = random.Random(seed)
    waiting: list[int] = []
    asked = 0

    async def client() -> None:
        nonlocal asked
        connection = Connection(port)
        while time.perf_counter() - started < seconds and asked < num_requests:
            asked += 1
            if len(waiting) < per_request:
                waiting[:] = chance.sample(range(len(texts)), len(texts))
            places = [waiting.pop() for _ in range(per_request)]
            await connection.classify(load, texts, places)
        connection.close()

    await asyncio.gather(*(client() for _ in range(num_clients)))
    load.seconds = time.perf_counter() - started
    return load


async def open_loop(port: int, texts: Sequence[str], *, rate: float, seconds: float) -> Load:
    """Send single texts at a rate per second, evenly, on as many connections as that takes.

    They come in random order, as in the closed loop: texts of a kind in a row would take another
    time than the rate was measured with.
    """
    load = Load()
    order = random.Random(0).sample(range(len(texts)), len(texts))
    idle: list[Connection] = []
    started = time.perf_counter()

    async def one(number: int) -> None:
        connection = idle.pop() if idle else Connection(port)
        await connection.classify(load, texts, [order[number % len(order)]])
        idle.append(connection)

    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number)))
    load.seconds = time.perf_counter() - started
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return load


async def probes(port: int, path: str, *, every: float, until: asyncio.Event) -> list[float]:
    """Ask a probe now and then; return the seconds that each took."""
    taken = []
    connection = Connection(port)
    while not until.is_set():
        started = time.perf_counter()
        status, _, _ = await connection.ask("GET", path)
        taken.append(time.perf_counter() - started)
        if status != 200:
            raise RuntimeError(f"{path} answers {status}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), every)
    connection.close()
    return taken

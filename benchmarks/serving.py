"""Does the server keep up with offline prediction, and its head above an overload?

    python -m benchmarks.serving [--quick] [--model FOLDER] [--precisions fp32 bf16] [--texts FILE]

GPT-2 124M, `lasttoken serve` in a process of its own, clients in this one on the same cores, over
loopback. Offline is what `lasttoken predict` computes for the same texts, in turn with the server,
which rests meanwhile. Under 12 minutes on two cores.

    ratio, 32 texts a request / single texts    closed loop, 16 clients, to offline
    distance                                    of each answer from offline
    overload                                    three times the measured rate, one text a request

And with a model of two layers, where the server itself is what takes time:

    latency                                     one client, one text
    growth                                      of memory, threads, files over 10,000 requests
    beside                                      a normal client's median beside hostile ones
    end                                         SIGTERM under load

`--only PART` measures one of them again.

`--model` with `--precisions int8` takes a run with an export, or an exported folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from benchmarks.hostile_clients import HOSTILE, keep_on
from benchmarks.load import Connection, Load, closed_loop, open_loop, probes
from benchmarks.measure import SMOKE, Results, figure
from benchmarks.models import gpt2_folder, read_texts, texts_file
from lasttoken.config.serving import ServeConfig
from lasttoken.deploy.opening import opener_of
from lasttoken.deploy.serving.opening import settle_model
from lasttoken.events import ignore

NUM_CLIENTS = 16
OVERLOAD = 3.0  # times the measured rate
QUEUE_SECONDS = 4.0  # of work that the queue holds in an overload
PER_REQUEST = (32, 1)


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        repeats: of offline, 32 texts a request, single texts, in turn.
        offline_seconds: of each repeat.
        seconds: of each repeat of the server; of latency; a fifth of it beside each hostile client.
        overload_seconds: as it says.
        num_requests: over which growth is measured.
        num_texts: different ones.
    """

    repeats: int
    offline_seconds: float
    seconds: float
    overload_seconds: float
    num_requests: int
    num_texts: int


FULL = Sizes(2, 15.0, 20.0, 60.0, 10_000, 512)
QUICK = Sizes(2, 8.0, 10.0, 20.0, 1_000, 128)
TINY = Sizes(1, 1.0, 2.0, 3.0, 200, 64)


class Server(NamedTuple):
    """A server at work."""

    port: int
    process: subprocess.Popen[str]


@contextlib.contextmanager
def serve(model: Path, precision: str, *words: object) -> Iterator[Server]:
    """Start `lasttoken serve` and wait until it serves; end it at the end."""
    command = [sys.executable, "-m", "lasttoken", "serve", str(model), "--port", "0",
               "--precision", precision, *map(str, words)]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        try:
            found = None
            for line in process.stderr:
                if found := re.search(r"serving at http://\S+:(\d+)/", line):
                    break
            if found is None:
                raise RuntimeError("the server ended before it served")
            yield Server(int(found.group(1)), process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(600)


def throughput(model: Path, texts: list[str], precision: str, sizes: Sizes) -> dict[str, Any]:
    """Return ratios to offline, and how far answers lie from it."""
    settings = settle_model(ServeConfig(run=str(model), precision=precision))  # type: ignore[arg-type]
    offline = opener_of(settings.run)(settings, ignore).model

    def predict() -> np.ndarray:
        return offline.probs(offline.predict_logits(offline.tokenize(texts)))

    expected = predict()
    rates: dict[str, list[float]] = {"offline": [], **{str(n): [] for n in PER_REQUEST}}
    distance = 0.0
    with serve(model, precision) as server:
        for _ in range(sizes.repeats):
            started = time.perf_counter()
            passes = 0
            while time.perf_counter() - started < sizes.offline_seconds:
                predict()
                passes += 1
            rates["offline"].append(passes * len(texts) / (time.perf_counter() - started))
            for per_request in PER_REQUEST:
                load = asyncio.run(
                    closed_loop(server.port, texts, num_clients=NUM_CLIENTS,
                                per_request=per_request, seconds=sizes.seconds)
                )  # fmt: skip
                if set(load.statuses) != {200}:
                    raise RuntimeError(f"statuses {dict(load.statuses)}")
                rates[str(per_request)].append(load.num_texts / load.seconds)
                for place, probs in load.answers.items():
                    distance = max(distance, float(np.abs(expected[place] - probs).max()))
    figures = {
        f"{precision} / {name} / texts per second": figure(rate) for name, rate in rates.items()
    }
    for per_request in map(str, PER_REQUEST):
        shares = [
            100 * ours / theirs
            for ours, theirs in zip(rates[per_request], rates["offline"], strict=True)
        ]
        figures[f"{precision} / {per_request} texts a request / share of offline"] = figure(
            shares, unit="%"
        )
    figures[f"{precision} / largest distance from offline"] = figure([distance])
    return figures


def latency(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Any]:
    """Return p50 and p99 of one client that asks for one text at a time."""
    with serve(model, "fp32") as server:
        asyncio.run(closed_loop(server.port, texts, num_clients=1, per_request=1, num_requests=20))
        load = asyncio.run(
            closed_loop(server.port, texts, num_clients=1, per_request=1, seconds=sizes.seconds)
        )
    return {f"latency / p{p} ms": figure([_ms(load, 200, p)], unit=" ms") for p in (50, 99)}


def overload(model: Path, texts: list[str], precision: str, sizes: Sizes) -> dict[str, Any]:
    """Return what three times too much does, and when it is over."""
    with serve(model, precision) as server:
        usual = asyncio.run(
            closed_loop(server.port, texts, num_clients=NUM_CLIENTS, per_request=1,
                        seconds=sizes.seconds / 2)
        )  # fmt: skip
    rate = usual.num_texts / usual.seconds
    room = max(NUM_CLIENTS, int(QUEUE_SECONDS * rate))
    words = ("--max-waiting", room, "--max-texts", min(256, room))
    with serve(model, precision, *words) as server:
        load, probed, recovery, per_batch = asyncio.run(_overload(server.port, texts, rate, sizes))
    other = sum(count for status, count in load.statuses.items() if status not in (200, 429))
    bound = 1_000 * (room + per_batch) / rate
    figures = {
        "overload / times the rate": figure([OVERLOAD]),
        "overload / accepted": figure([load.statuses[200]]),
        "overload / refused": figure([load.statuses[429]]),
        "overload / neither 200 nor 429": figure([other]),
        "overload / 429 without Retry-After": figure([load.retry_after.count(None)]),
        "overload / slowest probe ms": figure([1_000 * max(probed)], unit=" ms"),
        "overload / recovery s": figure([recovery], unit=" s"),
        "overload / share of the usual rate": figure(
            [100 * load.num_texts / (load.seconds + QUEUE_SECONDS) / rate], unit="%"
        ),
        "overload / queue and one batch at the usual rate ms": figure([bound], unit=" ms"),
    }
    for status, name in ((200, "accepted"), (429, "refused")):
        if load.statuses[status]:
            figures[f"overload / p99 of {name} ms"] = figure([_ms(load, status, 99)], unit=" ms")
    return figures


async def _overload(
    port: int, texts: list[str], rate: float, sizes: Sizes
) -> tuple[Load, list[float], float, float]:
    """Return the load, seconds of each probe and until a request is accepted, texts a batch."""
    over = asyncio.Event()
    probing = asyncio.create_task(probes(port, "/livez", every=0.25, until=over))
    seconds = sizes.overload_seconds
    loading = asyncio.create_task(open_loop(port, texts, rate=OVERLOAD * rate, seconds=seconds))
    await asyncio.sleep(seconds)
    ended = time.perf_counter()
    connection, after = Connection(port), Load()
    while await connection.classify(after, texts, [0]) != 200:
        await asyncio.sleep(0.1)
    recovery = time.perf_counter() - ended
    load = await loading
    over.set()
    counts = await _metrics(connection)
    connection.close()
    per_batch = counts['lasttoken_texts_total{lane="answers"}'] / counts["lasttoken_batches_total"]
    return load, await probing, recovery, per_batch


async def _metrics(connection: Connection) -> dict[str, float]:
    _, _, content = await connection.ask("GET", "/metrics")
    lines = [line.rpartition(" ") for line in content.decode().splitlines() if line[:1] != "#"]
    return {name: float(value) for name, _, value in lines}


def growth(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Any]:
    """Return how much memory many requests leave behind, after a tenth as many to warm up."""
    with serve(model, "fp32") as server:
        process = psutil.Process(server.process.pid)

        def ask(num_requests: int) -> tuple[int, int, int]:
            asyncio.run(
                closed_loop(server.port, texts, num_clients=NUM_CLIENTS, per_request=1,
                            num_requests=num_requests)
            )  # fmt: skip
            time.sleep(1)  # for connections to close
            return process.memory_info().rss, process.num_threads(), process.num_fds()

        before = ask(sizes.num_requests // 10)
        after = ask(sizes.num_requests)
    return {
        "growth / MB": figure([(after[0] - before[0]) / 1e6], unit=" MB"),
        "growth / threads": figure([after[1] - before[1]]),
        "growth / open files": figure([after[2] - before[2]]),
    }


def beside(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Any]:
    """Return by how much hostile clients slow a normal one down, and what they leave behind."""
    figures: dict[str, Any] = {}
    with serve(model, "fp32") as server:
        process = psutil.Process(server.process.pid)

        async def normal(seconds: float, hostile: str | None = None) -> tuple[Load, Counter[int]]:
            statuses: Counter[int] = Counter()
            meaning_ill = hostile and asyncio.create_task(keep_on(server.port, hostile, statuses))
            load = await closed_loop(
                server.port, texts, num_clients=1, per_request=1, seconds=seconds
            )
            if meaning_ill:
                meaning_ill.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await meaning_ill
            return load, statuses

        seconds = sizes.seconds / 5
        asyncio.run(normal(seconds))
        for name in HOSTILE:
            alone, _ = asyncio.run(normal(seconds))
            asyncio.run(normal(seconds, name))  # to reach its size
            held = process.memory_info().rss
            load, statuses = asyncio.run(normal(seconds, name))
            grown = (process.memory_info().rss - held) / 2**20
            if set(load.statuses) != {200} or any(status >= 500 for status in statuses):
                raise RuntimeError(f"{name}: {dict(load.statuses)} beside {dict(statuses)}")
            figures[f"beside {name} / median, times that alone"] = figure(
                [_ms(load, 200, 50) / _ms(alone, 200, 50)]
            )
            figures[f"beside {name} / MiB left behind"] = figure(
                [grown], unit=" MiB", statuses=dict(statuses)
            )
    return figures


def ending(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Any]:
    """Return exit code and seconds of SIGTERM under load."""

    async def run(server: Server) -> tuple[int, float]:
        loading = asyncio.create_task(
            closed_loop(server.port, texts, num_clients=NUM_CLIENTS, per_request=8)
        )
        await asyncio.sleep(min(5.0, sizes.seconds))
        server.process.send_signal(signal.SIGTERM)
        started = time.perf_counter()
        code = await asyncio.to_thread(server.process.wait, 60)
        seconds = time.perf_counter() - started
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the door is closed
            await loading
        return code, seconds

    with serve(model, "fp32") as server:
        code, seconds = asyncio.run(run(server))
    return {
        "end / exit code": figure([code]),
        "end / seconds": figure([seconds], unit=" s"),
    }


def _ms(load: Load, status: int, percentile: float) -> float:
    """Return a percentile of the milliseconds of requests with a status."""
    return 1_000 * float(np.percentile(load.latencies[status], percentile))


def main() -> None:
    """Measure part by part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short repeats")
    parser.add_argument("--model", type=Path, help="another model, run or exported folder")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--texts", type=Path, help="other texts, one a line")
    parser.add_argument("--only", help="one part, into results of its own: overload, beside ...")
    words = parser.parse_args()
    sizes = TINY if SMOKE else QUICK if words.quick else FULL
    name = f"serving-{words.only}" if words.only else "serving"
    results = Results(name, quick=words.quick)
    model, small = words.model or gpt2_folder(0.0), gpt2_folder(0.0, "gpt2-small")
    if words.texts:
        texts = list(dict.fromkeys(words.texts.read_text(encoding="utf-8").splitlines()))
    else:
        mixed = [read_texts(texts_file(mix))["test"]["texts"] for mix in ("short", "medium")]
        half = sizes.num_texts // 2
        texts = list(dict.fromkeys([*mixed[0][:half], *mixed[1][:half]]))
    parts = {
        **{
            f"throughput {precision}": lambda precision=precision: throughput(
                model, texts, precision, sizes
            )
            for precision in words.precisions
        },
        "overload": lambda: overload(model, texts, words.precisions[0], sizes),
        "latency": lambda: latency(small, texts, sizes),
        "growth": lambda: growth(small, texts, sizes),
        "beside": lambda: beside(small, texts, sizes),
        "ending": lambda: ending(small, texts, sizes),
    }
    if words.only:
        if words.only not in parts:
            parser.error(f"--only {words.only}: one of {', '.join(parts)}")
        parts = {words.only: parts[words.only]}
    for name, measure in parts.items():
        if not results.has(name):
            print(name, flush=True)
            started = time.monotonic()
            figures = measure()
            seconds = round(time.monotonic() - started)
            results.add(name, {"num_texts": len(texts), "seconds": seconds}, figures)
    results.save()


if __name__ == "__main__":
    main()

"""Does the server keep up with offline prediction, and its head above an overload?

    python -m benchmarks.serving [--quick] [--model FOLDER] [--texts FILE]

GPT-2 124M in fp32 and bf16, `lasttoken serve` in a process of its own, clients in this one on the
same cores, over loopback. Offline is `TextClassifier.predict_proba` over the same texts, in turn
with the server, which rests meanwhile.

    ratio, 32 texts a request / single texts    closed loop, 16 clients, to offline
    distance                                    of each answer from offline, fp32
    latency                                     one client, one text
    overload                                    three times the measured rate, one text a request
    growth                                      of memory over many requests
    end                                         SIGTERM under load
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from benchmarks.load import Connection, Load, closed_loop, open_loop, probes
from benchmarks.measure import REPEATS, SMOKE, Results, figure
from benchmarks.models import gpt2_folder, read_texts, texts_file
from lasttoken import TextClassifier

NUM_CLIENTS = 16
OVERLOAD = 3.0  # times the measured rate
QUEUE_SECONDS = 4.0  # of work that the queue holds in an overload


class Sizes(NamedTuple):
    """How much is measured."""

    seconds: float
    overload_seconds: float
    num_requests: int
    num_texts: int
    repeats: int


FULL = Sizes(60.0, 60.0, 10_000, 512, REPEATS)
QUICK = Sizes(15.0, 20.0, 1_000, 128, 2)
TINY = Sizes(2.0, 3.0, 200, 64, 1)


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
            process.wait(120)


def throughput(model: Path, texts: list[str], precision: str, sizes: Sizes) -> dict[str, Any]:
    """Return ratios to offline, and how far answers lie from it."""
    classifier = TextClassifier.from_pretrained(model, precision=precision)
    order = np.argsort(classifier.classes_)  # the server tells labels in the model's order
    offline = classifier.predict_proba(texts)[:, order]
    rates: dict[str, list[float]] = {"offline": [], "32": [], "1": []}
    distance = 0.0
    with serve(model, precision) as server:
        for _ in range(sizes.repeats):
            started = time.perf_counter()
            passes = 0
            while time.perf_counter() - started < sizes.seconds / 2:
                classifier.predict_proba(texts)
                passes += 1
            rates["offline"].append(passes * len(texts) / (time.perf_counter() - started))
            for per_request in (32, 1):
                load = asyncio.run(
                    closed_loop(server.port, texts, num_clients=NUM_CLIENTS,
                                per_request=per_request, seconds=sizes.seconds)
                )  # fmt: skip
                if set(load.statuses) != {200}:
                    raise RuntimeError(f"statuses {dict(load.statuses)}")
                rates[str(per_request)].append(load.num_texts / load.seconds)
                for place, probs in load.answers.items():
                    distance = max(distance, float(np.abs(offline[place] - probs).max()))
    figures = {
        f"{precision} / {name} / texts per second": figure(rate) for name, rate in rates.items()
    }
    for per_request in ("32", "1"):
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
    taken = 1_000 * np.array(load.latencies[200])
    return {f"latency / p{p} ms": figure([float(np.percentile(taken, p))]) for p in (50, 99)}


def overload(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Any]:
    """Return what three times too much does, and when it is over."""
    with serve(model, "fp32") as server:
        usual = asyncio.run(
            closed_loop(server.port, texts, num_clients=NUM_CLIENTS, per_request=1,
                        seconds=sizes.seconds / 2)
        )  # fmt: skip
    rate = usual.num_texts / usual.seconds
    room = max(NUM_CLIENTS, int(QUEUE_SECONDS * rate))
    words = ("--max-waiting", room, "--max-texts", min(256, room))
    with serve(model, "fp32", *words) as server:
        load, probed, recovery = asyncio.run(_overload(server.port, texts, rate, sizes))
    other = sum(count for status, count in load.statuses.items() if status not in (200, 429))
    figures = {
        "overload / times the rate": figure([OVERLOAD]),
        "overload / neither 200 nor 429": figure([other]),
        "overload / 429 without Retry-After": figure([load.retry_after.count(None)]),
        "overload / slowest probe ms": figure([1_000 * max(probed)], unit=" ms"),
        "overload / recovery s": figure([recovery], unit=" s"),
        "overload / share of the usual rate": figure(
            [100 * load.num_texts / (load.seconds + QUEUE_SECONDS) / rate], unit="%"
        ),
    }
    for status, name in ((200, "accepted"), (429, "refused")):
        taken = load.latencies.get(status, [])
        if taken:
            figures[f"overload / p99 of {name} ms"] = figure(
                [1_000 * float(np.percentile(taken, 99))], unit=" ms"
            )
    return figures


async def _overload(
    port: int, texts: list[str], rate: float, sizes: Sizes
) -> tuple[Load, list[float], float]:
    """Return the load, the seconds of each probe, and those until a new request is accepted."""
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
    return load, await probing, recovery


def growth(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Any]:
    """Return how much memory many requests leave behind, after a tenth as many to warm up."""
    with serve(model, "fp32") as server:
        process = psutil.Process(server.process.pid)

        def ask(num_requests: int) -> tuple[int, int, int]:
            asyncio.run(
                closed_loop(server.port, texts, num_clients=NUM_CLIENTS, per_request=1,
                            num_requests=num_requests)
            )  # fmt: skip
            return process.memory_info().rss, process.num_threads(), process.num_fds()

        before = ask(sizes.num_requests // 10)
        after = ask(sizes.num_requests)
    return {
        "growth / MB": figure([(after[0] - before[0]) / 1e6], unit=" MB"),
        "growth / threads": figure([after[1] - before[1]]),
        "growth / open files": figure([after[2] - before[2]]),
    }


def ending(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Any]:
    """Return exit code and seconds of SIGTERM under load, and what was accepted in vain."""

    async def run(server: Server) -> tuple[Load, int, float]:
        loading = asyncio.create_task(
            closed_loop(server.port, texts, num_clients=NUM_CLIENTS, per_request=8)
        )
        await asyncio.sleep(min(5.0, sizes.seconds))
        server.process.send_signal(signal.SIGTERM)
        started = time.perf_counter()
        code = await asyncio.to_thread(server.process.wait, 60)
        seconds = time.perf_counter() - started
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the door is closed
            return await loading, code, seconds
        return Load(), code, seconds

    with serve(model, "fp32") as server:
        _, code, seconds = asyncio.run(run(server))
    return {
        "end / exit code": figure([code]),
        "end / seconds": figure([seconds], unit=" s"),
    }


def main() -> None:
    """Measure part by part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short repeats")
    parser.add_argument("--model", type=Path, help="another model or run folder")
    parser.add_argument("--texts", type=Path, help="other texts, one a line")
    words = parser.parse_args()
    sizes = TINY if SMOKE else QUICK if words.quick else FULL
    results = Results("serving", quick=words.quick)
    model = words.model or gpt2_folder(0.0)
    if words.texts:
        texts = list(dict.fromkeys(words.texts.read_text(encoding="utf-8").splitlines()))
    else:
        mixed = [read_texts(texts_file(mix))["test"]["texts"] for mix in ("short", "medium")]
        half = sizes.num_texts // 2
        texts = list(dict.fromkeys([*mixed[0][:half], *mixed[1][:half]]))
    parts = {
        "throughput fp32": lambda: throughput(model, texts, "fp32", sizes),
        "throughput bf16": lambda: throughput(model, texts, "bf16", sizes),
        "latency": lambda: latency(model, texts, sizes),
        "overload": lambda: overload(model, texts, sizes),
        "growth": lambda: growth(model, texts, sizes),
        "ending": lambda: ending(model, texts, sizes),
    }
    for name, measure in parts.items():
        if not results.has(name):
            print(name, flush=True)
            results.add(name, {"num_texts": len(texts)}, measure())
    results.save()


if __name__ == "__main__":
    main()

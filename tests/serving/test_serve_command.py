"""The command in processes of its own: what only a whole server can show. Minutes in all."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
from transformers import GPT2Config, GPT2ForSequenceClassification

from conftest import Command
from families import byte_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.allow_hosts(["127.0.0.1"])]

SAME = 1e-5


class Server(NamedTuple):
    address: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def serve(run: Path, *words: object) -> Iterator[Server]:
    """Start the command as people do, and wait until it says where it serves."""
    command = [sys.executable, "-m", "lasttoken", "serve", str(run), "--port", "0",
               "--precision", "fp32", *map(str, words)]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        try:
            for line in process.stderr:
                if found := re.search(r"serving at (http://\S+)/ ", line):
                    break
            else:
                pytest.fail("the server ended before it served")
            yield Server(found.group(1), process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(60)


def texts_of(count: int) -> list[str]:
    return [f"{'a word ' * (n * n % 13)}number {n}" for n in range(count)]


def test_every_answer_is_that_of_predict_whatever_it_rode_with(
    lasttoken: Command, finished_run: Path, tmp_path: Path
) -> None:
    texts = texts_of(400)
    lines = tmp_path / "texts.txt"
    lines.write_text("\n".join(texts) + "\n", encoding="utf-8")
    output = tmp_path / "labels.csv"
    words = ("predict", finished_run, lines, "--precision", "fp32", "--output", output)
    assert lasttoken(*words).code == 0
    with output.open(newline="", encoding="utf-8") as file:
        offline = {row["text"]: row for row in csv.DictReader(file)}

    async def ask(client: httpx.AsyncClient, part: list[str]) -> None:
        response = await client.post("/classify", json={"texts": part, "probabilities": True})
        for text, one in zip(part, response.json()["predictions"], strict=True):
            row = offline[text]
            assert one["label"] == row["predicted_label"]
            for label, share in one["probabilities"].items():
                assert share == pytest.approx(float(row[f"probability_{label}"]), abs=SAME)
            assert str(one["truncated"]).lower() == row["truncated"].lower()

    async def ask_all(address: str) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            parts = [texts[start : start + 1 + start % 7] for start in range(0, 400, 3)]
            await asyncio.gather(*(ask(client, part) for part in parts))

    with serve(finished_run) as server:
        asyncio.run(ask_all(server.address))


def test_sigterm_under_load_answers_what_was_accepted_and_ends_with_0(finished_run: Path) -> None:
    statuses: list[int] = []

    async def load(address: str, process: subprocess.Popen[str]) -> None:
        async def client_of(number: int) -> None:
            async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                for turn in range(10_000):
                    texts = [f"{number} {turn} {n}" for n in range(50)]
                    try:
                        response = await client.post("/classify", json={"texts": texts})
                    except httpx.ConnectError:  # the door is closed: nothing was accepted
                        return
                    statuses.append(response.status_code)
                    if response.status_code == 503:
                        return

        clients = [asyncio.create_task(client_of(number)) for number in range(8)]
        await asyncio.sleep(2)
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)

    with serve(finished_run) as server:
        asyncio.run(load(server.address, server.process))
        assert server.process.wait(30) == 0
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 8


def test_sigterm_ends_it_with_0_while_the_model_computes_for_somebody_who_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python aborts when it ends while torch computes in another thread."""
    config = GPT2Config(vocab_size=260, n_embd=1536, n_layer=6, n_head=12, eos_token_id=256,
                        bos_token_id=256, pad_token_id=256, num_labels=2)  # fmt: skip
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "wide")
    byte_tokenizer().save_pretrained(tmp_path / "wide")
    # One thread takes longer for a batch of this model than the server waits for its end.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with serve(tmp_path / "wide") as server:
        texts = [f"{n} {'word ' * 200}" for n in range(8)]  # equal ones would be read once
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.address}/classify", json={"texts": texts}, timeout=2)
        server.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert server.process.wait(60) == 0
        assert time.monotonic() - started < 20


def test_ctrl_c_ends_it_with_0(finished_run: Path) -> None:
    with serve(finished_run) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


def test_three_times_too_much_is_refused_in_time_and_recovered_from(finished_run: Path) -> None:
    """S3 in small: only 200 and 429; refusals and probes stay quick; then all is as before."""

    async def overload(address: str) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
            texts = [f"a text of some words, number {n}" for n in range(64)]

            async def ask() -> tuple[int, float, httpx.Headers]:
                started = time.perf_counter()
                response = await client.post("/classify", json={"texts": texts})
                return response.status_code, time.perf_counter() - started, response.headers

            async def probe() -> float:
                started = time.perf_counter()
                assert (await client.get("/livez")).status_code == 200
                return time.perf_counter() - started

            found = await asyncio.gather(*(ask() for _ in range(150)), probe(), probe())
            asked = [one for one in found if isinstance(one, tuple)]
            assert {status for status, _, _ in asked} == {200, 429}
            assert all(int(h["retry-after"]) >= 1 for status, _, h in asked if status == 429)
            assert (await ask())[0] == 200

    with serve(finished_run, "--max-waiting", 256) as server:
        asyncio.run(overload(server.address))


def test_memory_threads_and_files_do_not_grow_with_requests(finished_run: Path) -> None:
    """S4: 10,000 requests after a warm-up cost less than 50 MB."""

    async def ask_many(address: str, count: int) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:

            async def some(number: int) -> None:
                for turn in range(number, count, 8):
                    texts = texts_of(1 + turn % 20)
                    response = await client.post("/classify", json={"texts": texts})
                    assert response.status_code == 200

            await asyncio.gather(*(some(number) for number in range(8)))

    with serve(finished_run) as server:
        process = psutil.Process(server.process.pid)
        asyncio.run(ask_many(server.address, 500))
        before = process.memory_info().rss, process.num_threads(), process.num_fds()
        asyncio.run(ask_many(server.address, 10_000))
        time.sleep(1)
        after = process.memory_info().rss, process.num_threads(), process.num_fds()
    assert after[0] - before[0] < 50_000_000
    assert after[1] <= before[1]
    assert after[2] <= before[2] + 8


def test_refused_requests_leave_nothing_behind(finished_run: Path) -> None:
    """S5: less than 1 MiB for each hundred of the largest texts that are refused."""
    refused = [
        json.dumps({"texts": ["a" * 1_000_000]}).encode(),
        b"[" * 100_000,
        json.dumps({"texts": ["x"] * 1_000}).encode(),
        b'{"texts": 1}',
    ]

    def send(client: httpx.Client, times: int) -> None:
        for turn in range(times):
            headers = {"content-type": "application/json"}
            response = client.post(
                "/classify", content=refused[turn % len(refused)], headers=headers
            )
            assert 400 <= response.status_code < 500

    with serve(finished_run) as server, httpx.Client(base_url=server.address) as client:
        process = psutil.Process(server.process.pid)
        send(client, 100)
        before = process.memory_info().rss
        send(client, 400)
        assert process.memory_info().rss - before < 4 * 1_048_576


def test_the_longest_text_without_a_space_does_not_hold_the_others_up(finished_run: Path) -> None:
    def seconds(client: httpx.Client, text: str) -> float:
        started = time.perf_counter()
        assert client.post("/classify", json={"texts": [text]}).status_code == 200
        return time.perf_counter() - started

    # As long as the default allows for a model of 1,024 tokens.
    with (
        serve(finished_run, "--max-characters", 256_000) as server,
        httpx.Client(base_url=server.address, timeout=60) as client,
    ):
        seconds(client, "x")
        assert seconds(client, "_" * 256_000) < 5


# Schemathesis expects too long a text to be refused by 400 or 422; HTTP's word for it is 413.
SCHEMATHESIS = """
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 406, 413, 415, 422]
"""


def test_no_request_that_openapi_allows_meets_a_fault(finished_run: Path, tmp_path: Path) -> None:
    """S10: schemathesis finds no server error and no response that the schema does not know."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(SCHEMATHESIS)
    with serve(finished_run) as server:
        program = (sys.executable, "-m", "schemathesis.cli", "--config-file", str(config))
        words = ("run", f"{server.address}/openapi.json", "--max-examples", "100", "--no-color")
        # In a folder of its own, where it leaves what it remembers.
        found = subprocess.run(
            [*program, *words], capture_output=True, text=True, timeout=280, cwd=tmp_path
        )
    assert found.returncode == 0, found.stdout[-6000:]
    assert "5 passed" in found.stdout  # each of the operations

"""The server on a real socket of this machine: signals, slow and rude clients, keys and ports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from served import Hold, served, soon

from conftest import Command
from lasttoken import TextClassifier
from lasttoken.cli.arguments import parse
from lasttoken.config.serving import ServeConfig
from lasttoken.deploy.serving import connection, server
from lasttoken.deploy.serving.app import create_app
from lasttoken.deploy.serving.limits import (
    LONG_PART_SECONDS,
    READ_BYTES,
    REST_PER_SECOND,
    Limits,
)
from lasttoken.deploy.serving.opening import bind, is_loopback, open_access
from lasttoken.deploy.serving.service import Service
from lasttoken.errors import ConfigError
from lasttoken.events import Event, Note
from lasttoken.inference.prediction import MAX_TOKENS_PER_BATCH

Talk = Callable[[int, Service], Awaitable[None]]


def run(classifier: TextClassifier, talk: Talk, **settings: Any) -> tuple[int, list[str]]:
    """Serve while `talk` does, then send SIGTERM; return the exit code and what was told."""
    config = ServeConfig(run="", **settings)
    events: list[Event] = []
    model = served(classifier)

    async def both() -> int:
        service = Service(model, server.limits_of(config, model), on_event=events.append)
        app = create_app(service, open_access("127.0.0.1", None), on_event=events.append)
        with bind("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
            serving = asyncio.create_task(server._serve(service, app, listener, events.append))
            try:
                await soon(lambda: any(isinstance(event, Note) for event in events))
                await talk(port, service)
            finally:
                if not serving.done():
                    os.kill(os.getpid(), signal.SIGTERM)
                code = await serving
            return code

    code = asyncio.run(both())
    return code, [event.text for event in events if isinstance(event, Note)]


async def send(port: int, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send one request on a connection of its own; return status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + body)
        raw = await reader.read()
    finally:
        writer.close()
    status, _, rest = raw.partition(b"\r\n")
    return int(status.split()[1]), rest.partition(b"\r\n\r\n")[2]


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def post(port: int, content: Any) -> tuple[int, bytes]:
    body = json.dumps(content).encode()
    head = (
        "POST /classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return await send(port, head, body)


@pytest.mark.usefixtures("socket_enabled")
def test_it_says_where_it_serves_answers_and_ends_with_0(classifier: TextClassifier) -> None:
    async def talk(port: int, _service: Service) -> None:
        assert (await send(port, get("/readyz")))[0] == 200
        status, body = await post(port, {"texts": ["a wonderful film, number 3"]})
        assert status == 200
        (label,) = classifier.predict(["a wonderful film, number 3"])
        assert json.loads(body)["predictions"][0]["label"] == label

    code, notes = run(classifier, talk)
    assert code == 0
    assert notes[0].startswith("serving at http://127.0.0.1:")
    assert notes[1].startswith("ending: ")


@pytest.mark.usefixtures("socket_enabled")
def test_a_full_garbage_collection_has_little_to_go_through_while_it_serves(
    classifier: TextClassifier,
) -> None:
    async def talk(_port: int, _service: Service) -> None:
        passed_over = gc.get_freeze_count()
        assert passed_over > 100_000  # all that is loaded: the collector stops every thread
        assert len(gc.get_objects()) < passed_over / 10

    assert run(classifier, talk)[0] == 0
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("socket_enabled")
def test_after_sigterm_accepted_requests_are_finished_and_new_ones_refused(
    fresh: TextClassifier,
) -> None:
    hold = Hold(fresh)

    async def talk(port: int, service: Service) -> None:
        hold.batches.clear()
        hold.is_free.clear()
        accepted = [asyncio.create_task(post(port, {"texts": ["at work"]}))]
        await soon(lambda: hold.batches != [])
        accepted += [asyncio.create_task(post(port, {"texts": [f"{n}"]})) for n in range(4)]
        await soon(lambda: service.queue.num_waiting == 4)
        os.kill(os.getpid(), signal.SIGTERM)
        await soon(lambda: service.unready is not None)
        assert (await send(port, get("/readyz")))[0] == 503
        assert (await send(port, get("/livez")))[0] == 200
        status, body = await post(port, {"texts": ["late"]})
        assert (status, json.loads(body)["error"]["found"]) == (503, "the server is shutting down")
        hold.is_free.set()
        assert [(await task)[0] for task in accepted] == [200] * 5

    code, _ = run(fresh, talk)
    assert code == 0


@pytest.mark.usefixtures("socket_enabled")
def test_who_cannot_be_answered_within_the_time_of_grace_is_told_of(fresh: TextClassifier) -> None:
    hold = Hold(fresh)
    told: list[asyncio.Task[tuple[int, bytes]]] = []

    async def talk(port: int, service: Service) -> None:
        hold.batches.clear()
        hold.is_free.clear()
        asyncio.get_running_loop().call_later(1.0, hold.is_free.set)
        told.append(asyncio.ensure_future(post(port, {"texts": ["stuck"]})))
        await soon(lambda: hold.batches != [])

    code, notes = run(fresh, talk, grace_seconds=0.1)
    assert code == 1
    status, body = told[0].result()
    assert (status, json.loads(body)["error"]["found"]) == (503, "the server is shutting down")
    assert "some requests got no answer" in notes[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("socket_enabled")
def test_a_second_signal_ends_it_without_waiting(fresh: TextClassifier) -> None:
    hold = Hold(fresh)
    started = time.monotonic()

    async def talk(port: int, service: Service) -> None:
        hold.batches.clear()
        hold.is_free.clear()
        asyncio.ensure_future(post(port, {"texts": ["stuck"]}))  # noqa: RUF006
        await soon(lambda: hold.batches != [])
        os.kill(os.getpid(), signal.SIGTERM)
        await soon(lambda: service.unready is not None)
        asyncio.get_running_loop().call_later(1.0, hold.is_free.set)

    code, _ = run(fresh, talk)  # sends the second
    assert code == 1
    assert time.monotonic() - started < 20  # the time of grace is 30


@pytest.mark.usefixtures("socket_enabled")
def test_it_ends_with_1_when_the_thread_of_the_model_dies(fresh: TextClassifier) -> None:
    def die(*_: object) -> None:
        raise SystemExit

    async def talk(port: int, service: Service) -> None:
        fresh.loaded_.classifier.register_forward_pre_hook(die)
        assert (await post(port, {"texts": ["x"]}))[0] == 500
        assert not service.is_alive
        await asyncio.sleep(1.5)
        with pytest.raises(ConnectionError):
            await send(port, get("/livez"))

    code, notes = run(fresh, talk)
    assert code == 1
    assert any("the model's thread has died: SystemExit" in note for note in notes)


@pytest.mark.usefixtures("socket_enabled")
def test_a_client_that_closes_its_connection_is_dropped(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def talk(port: int, service: Service) -> None:
        hold.batches.clear()
        hold.is_free.clear()
        first = asyncio.create_task(post(port, {"texts": ["at work"]}))
        await soon(lambda: hold.batches != [])
        leaving = [asyncio.create_task(post(port, {"texts": [f"{n}"]})) for n in range(20)]
        await soon(lambda: service.queue.num_waiting == 20)
        for task in leaving:
            task.cancel()
        await soon(lambda: service.dropped["departed"] == 20)
        assert service.queue.held("answers") == 1  # that of the one at work
        hold.is_free.set()
        assert (await first)[0] == 200

    run(fresh, talk)
    assert hold.batches == [1]


@pytest.mark.usefixtures("socket_enabled")
def test_a_head_that_does_not_come_is_not_waited_for(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)

    async def drip(port: int, before: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(before)
        if before:
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        for byte in get("/livez"):
            if reader.at_eof():
                break
            writer.write(byte.encode())
            await asyncio.sleep(0.05)
        assert await reader.read() == b""
        writer.close()

    async def talk(port: int, _service: Service) -> None:
        whole = get("/livez").replace("close", "keep-alive").encode()
        await asyncio.wait_for(asyncio.gather(drip(port, b""), drip(port, whole)), 5)
        assert (await send(port, get("/livez")))[0] == 200

    run(classifier, talk)


@pytest.mark.usefixtures("socket_enabled")
def test_a_body_of_very_many_chunks_is_refused_and_the_connection_closed(
    classifier: TextClassifier,
) -> None:
    async def talk(port: int, _service: Service) -> None:
        head = (
            "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        status, body = await send(port, head, b"1\r\n \r\n" * 5_000)
        assert status == 413
        assert json.loads(body)["error"]["code"] == "body_too_large"

    run(classifier, talk, max_body_bytes=1_000)


@pytest.mark.usefixtures("socket_enabled")
def test_of_one_connection_little_is_read_at_a_time_and_what_takes_long_rests(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    turns: list[tuple[float, float]] = []

    class Recording(server.BoundedProtocol):
        def data_received(self, data: bytes) -> None:
            sizes.append(len(data))
            started = time.thread_time()
            super().data_received(data)
            turns.append((time.monotonic(), time.thread_time() - started))

    monkeypatch.setattr(server, "BoundedProtocol", Recording)

    async def talk(port: int, _service: Service) -> None:
        text = "a" * 100_000
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in json.dumps({"texts": [text]}).encode())
        head = (
            "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        status, body = await send(port, head, chunks + b"0\r\n\r\n")
        assert status == 413
        assert json.loads(body)["error"]["found"] == "texts[0]: 100,000 characters"

    run(classifier, talk)
    assert sum(sizes) > 600_000
    assert max(sizes) <= READ_BYTES
    slow = [n for n, (_, seconds) in enumerate(turns[:-1]) if seconds > 1.1 * LONG_PART_SECONDS]
    assert len(slow) > 20
    for n in slow:
        (ended, seconds), (next_ended, next_seconds) = turns[n], turns[n + 1]
        # The rest is a bit shorter than what was measured around it.
        assert next_ended - next_seconds - ended > 0.9 * REST_PER_SECOND * seconds - 0.002


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_refusal_reaches_a_client_that_sends_all_of_a_large_body_first(
    kind: str, classifier: TextClassifier
) -> None:
    body = b" " * 20_000_000
    head = (
        f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(head.encode() + body)
            raw = b""
            while part := client.recv(65_536):
                raw += part
            return raw

    async def talk(port: int, _service: Service) -> None:
        raw = await asyncio.to_thread(ask, port)
        assert raw.startswith(b"HTTP/1.1 413" if kind == "application/json" else b"HTTP/1.1 415")
        assert json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["remedy"]

    run(classifier, talk)


@pytest.mark.usefixtures("socket_enabled")
def test_a_refusal_reaches_a_client_with_a_head_that_is_too_long(
    classifier: TextClassifier,
) -> None:
    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 1_000_000)
            return client.recv(65_536)

    async def talk(port: int, _service: Service) -> None:
        assert (await asyncio.to_thread(ask, port)).startswith(b"HTTP/1.1 400")

    run(classifier, talk)


@pytest.mark.usefixtures("socket_enabled")
def test_a_connection_whose_refused_body_came_late_does_not_hold_up_the_end(
    classifier: TextClassifier,
) -> None:
    client = socket.socket()
    client.settimeout(20)
    ended: list[float] = []

    def ask(port: int) -> None:
        client.connect(("127.0.0.1", port))
        client.sendall(b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 404")
        client.sendall(b"one")

    async def talk(port: int, _service: Service) -> None:
        await asyncio.to_thread(ask, port)
        await asyncio.sleep(0.2)
        ended.append(time.monotonic())

    with client:  # it stays open, and idle
        run(classifier, talk)
    assert time.monotonic() - ended[0] < connection.LINGER_SECONDS


@pytest.mark.usefixtures("socket_enabled")
def test_a_client_that_does_not_take_its_answers_is_cut_off(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.5)
    num_asked = 4_000  # answers of twenty thousand bytes and more each

    async def talk(port: int, _service: Service) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.setblocking(False)
            asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * num_asked
            loop = asyncio.get_running_loop()
            sending = asyncio.ensure_future(loop.sock_sendall(client, asked))
            await asyncio.sleep(3)
            raw = b""
            with contextlib.suppress(ConnectionError):
                while part := await loop.sock_recv(client, 1 << 20):
                    raw += part
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert 0 < raw.count(b"HTTP/1.1 200") < num_asked
        assert (await send(port, get("/livez")))[0] == 200

    run(classifier, talk)


@pytest.mark.usefixtures("socket_enabled")
def test_a_refused_client_that_sends_on_is_cut_off(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.2)

    async def send_on(writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        for _ in range(2_000):
            writer.write(b" " * 1_000)
            await writer.drain()
            await asyncio.sleep(0.005)

    async def talk(port: int, _service: Service) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionError):
            await send_on(writer)
        writer.close()
        assert (await send(port, get("/livez")))[0] == 200

    run(classifier, talk)


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n\r\n",  # no host
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n",
        "nonsense\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_by_400(classifier: TextClassifier, head: str) -> None:
    async def talk(port: int, _service: Service) -> None:
        assert (await send(port, head))[0] == 400
        assert (await send(port, get("/livez")))[0] == 200

    code, notes = run(classifier, talk)
    assert code == 0
    assert len(notes) == 2


@pytest.mark.usefixtures("socket_enabled")
def test_a_head_without_an_end_is_cut_off(classifier: TextClassifier) -> None:
    async def talk(port: int, _service: Service) -> None:
        head = "GET / HTTP/1.1\r\nHost: localhost\r\n" + "X: y\r\n" * 100_000
        with contextlib.suppress(ConnectionResetError):  # closed while the client still sends
            assert (await send(port, head))[0] == 400
        assert (await send(port, get("/livez")))[0] == 200

    run(classifier, talk)


@pytest.mark.parametrize(
    ("host", "holds"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("example.org", False),
    ],
)  # fmt: skip
def test_only_addresses_of_this_machine_alone_need_no_key(host: str, holds: bool) -> None:
    assert is_loopback(host) is holds
    if holds:
        assert open_access(host, None).loopback_only
    else:
        with pytest.raises(ConfigError, match="other machines could reach the model"):
            open_access(host, None)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"short", "a key of 5 characters"),
        (b"two words, and long enough", "a key of 26 characters"),
        (b"line one of the key\nline two", "a key of 28 characters"),
        (b"\xff\xfe" * 20, "no text"),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_key_is_refused(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "key.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        open_access("0.0.0.0", str(path))
    assert refused.value.found == f"--api-key-file {path}: {found}"
    assert "openssl rand -hex 32" in refused.value.remedy


def test_a_key_opens_other_addresses_and_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    path.write_text("0123456789abcdef\n")
    access = open_access("0.0.0.0", str(path))
    assert access.key_sha256 is not None
    assert b"0123456789abcdef" not in access.key_sha256
    assert not access.loopback_only


@pytest.mark.skipif(os.name != "posix", reason="files have no mode")
@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_key_that_other_users_may_read_is_told(
    mode: int, tmp_path: Path, lasttoken: Command, finished_run: Path
) -> None:
    path = tmp_path / "key.txt"
    path.write_text("0123456789abcdef\n")
    path.chmod(mode)
    with socket.socket() as other:  # so that nothing is served
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = lasttoken("serve", finished_run, "--port", port, "--api-key-file", path)
    told = f"--api-key-file {path}: other users of this machine may read it; chmod 600 {path}"
    assert (told in outcome.err) is (mode == 0o644)


@pytest.mark.usefixtures("socket_enabled")
def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(
    lasttoken: Command, finished_run: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = lasttoken("serve", finished_run, "--port", port)
    assert outcome.code == 2
    found, expected, remedy = outcome.err.splitlines()[-3:]
    assert found == f"error: --host 127.0.0.1 --port {port}: Address already in use"
    assert expected.startswith("expected: an address of this machine")
    assert remedy.startswith("try: another --port")


def test_nobody_else_is_served_by_default() -> None:
    config = ServeConfig(run="run")
    assert is_loopback(config.host)
    assert open_access(config.host, config.api_key_file).loopback_only


def test_a_body_that_may_be_sent_may_also_wait(classifier: TextClassifier) -> None:
    config = ServeConfig(run="run", max_body_bytes=500_000_000)
    assert server.limits_of(config, served(classifier)).max_bytes_at_hand >= 500_000_000


def test_serving_others_without_a_key_is_refused(lasttoken: Command, finished_run: Path) -> None:
    outcome = lasttoken("serve", finished_run, "--host", "0.0.0.0")
    assert outcome.code == 2
    assert "--host 0.0.0.0 without --api-key-file: other machines" in outcome.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--port", "70000"), "--port 70000"),
        (("--max-texts", "0"), "--max-texts 0"),
        (("--max-waiting", "8", "--max-texts", "9"), "--max-texts 9 with --max-waiting 8"),
        (("--request-seconds", "-1"), "--request-seconds -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(
    lasttoken: Command, words: tuple[str, ...], found: str
) -> None:
    outcome = lasttoken("serve", "run", *words)
    assert outcome.code == 2
    assert f"error: {found}\n" in outcome.err


def test_a_run_that_is_not_there_is_refused(lasttoken: Command) -> None:
    outcome = lasttoken("serve", "nowhere")
    assert outcome.code == 2
    assert "error: nowhere: no such folder\n" in outcome.err


def test_what_a_plain_installation_lacks_is_named(
    lasttoken: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lasttoken.cli.extras.find_spec", lambda name: None)
    outcome = lasttoken("serve", "run")
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        "error: fastapi, uvicorn, prometheus_client: not installed",
        "expected: the extra 'serve'",
        "try: pip install 'lasttoken[serve]'",
    ]


def test_the_dockerfile_serves_as_nobody_by_a_command_that_parses() -> None:
    text = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    lines = dict(line.split(" ", 1) for line in text.splitlines() if line[:1].isupper())
    assert lines["USER"] == "10001:10001"
    program, command, *words = json.loads(lines["ENTRYPOINT"])
    assert (program, command) == ("lasttoken", "serve")
    config = parse(ServeConfig, words, program="lasttoken serve")
    assert config is not None
    assert not is_loopback(config.host)
    assert config.api_key_file
    assert lines["EXPOSE"] == str(config.port)


def test_the_server_itself_knows_no_torch() -> None:
    program = (
        "import sys, lasttoken.deploy.serving.server as server; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_batch_is_as_large_as_offline() -> None:
    assert Limits().max_tokens_per_batch == MAX_TOKENS_PER_BATCH

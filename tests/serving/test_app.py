"""What a client sees: answers, limits, refusals, faults and probes, by HTTP but for the socket."""

from __future__ import annotations

import asyncio
import json
import re
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from served import POISON, TEXTS, Hold, ask, asking, served, serving, soon, spoil

from lasttoken import TextClassifier
from lasttoken.deploy.serving.access import Access, hash_key
from lasttoken.deploy.serving.body import parse_body
from lasttoken.deploy.serving.limits import Limits
from lasttoken.deploy.serving.page_files import page_files
from lasttoken.deploy.serving.refusal import RequestError
from lasttoken.events import Note

KEY = "correct horse battery staple".replace(" ", "-")
KEYED = Access(hash_key(KEY), loopback_only=False)


def classify(classifier: TextClassifier, content: Any, **words: Any) -> httpx.Response:
    """Return the response to one request."""
    if isinstance(content, bytes):
        sent = {"content": content, "headers": {"content-type": "application/json"}}
    else:
        sent = {"json": content}
    return ask(classifier, lambda client: client.post("/classify", **sent), **words)


def check_fault(response: httpx.Response, status: int, code: str, found: str = "") -> None:
    assert response.status_code == status, response.text
    fault = response.json()["error"]
    assert set(fault) == {"code", "found", "expected", "remedy", "id"}
    assert fault["code"] == code
    assert found in fault["found"], fault["found"]
    assert fault["id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text


def test_predictions_come_in_the_order_of_the_texts(classifier: TextClassifier) -> None:
    response = classify(classifier, {"texts": TEXTS})
    assert response.status_code == 200
    expected = classifier.predict(TEXTS).tolist()
    found = response.json()["predictions"]
    assert [one["label"] for one in found] == expected
    assert [set(one) for one in found] == [{"label", "score", "truncated"}] * len(TEXTS)
    assert [one["truncated"] for one in found] == classifier.tokenize(TEXTS).truncated.tolist()
    assert found[0]["score"] == pytest.approx(classifier.predict_proba(TEXTS)[0].max(), abs=1e-5)


def test_probabilities_and_words_come_on_request(classifier: TextClassifier) -> None:
    text = "a wonderful film, number 3"
    asked = {"texts": [text], "probabilities": True, "explain": True}
    (one,) = classify(classifier, asked).json()["predictions"]
    assert list(one["probabilities"]) == ["neg", "pos"]
    assert sum(one["probabilities"].values()) == pytest.approx(1)
    assert one["score"] == max(one["probabilities"].values())
    assert "".join(word["text"] for word in one["words"]) == text
    assert any(word["weight"] for word in one["words"])


def test_no_text_gets_no_prediction(classifier: TextClassifier) -> None:
    assert classify(classifier, {"texts": []}).json() == {"predictions": []}


def test_what_took_how_long_stands_in_a_header(classifier: TextClassifier) -> None:
    response = classify(classifier, {"texts": ["x"], "explain": True})
    timing = re.sub(r"[\d.]+", "N", response.headers["server-timing"])
    assert timing == "tokenize;dur=N, model;dur=N, explain;dur=N"


@pytest.mark.parametrize(
    ("body", "status", "code", "found"),
    [
        (b"", 400, "invalid_json", "no JSON"),
        (b"{", 400, "invalid_json", "no JSON"),
        (b'{"texts": ["\\ud800"]}', 400, "invalid_json", "no JSON"),
        (b'{"texts": ["\xff"]}', 400, "invalid_json", "no JSON"),
        (b"[" * 100, 400, "invalid_json", "no JSON"),
        (b'{"texts": ' + b"[" * 100 + b"]" * 100 + b"}", 422, "invalid_request", "texts[0]: "),
        (b'{"texts": ' + b"[" * 300 + b"]" * 300 + b"}", 400, "invalid_json", "no JSON"),
        (b'{"texts": [], ' + b'"a": {' * 300 + b"}" * 301, 400, "invalid_json", "no JSON"),
        (b"[]", 422, "invalid_request", "the body: "),
        (b"null", 422, "invalid_request", "the body: "),
        (b"{}", 422, "invalid_request", "texts: Field required"),
        (b'{"texts": "x"}', 422, "invalid_request", "texts: "),
        (b'{"texts": ["x", 1]}', 422, "invalid_request", "texts[1]: "),
        (b'{"texts": [null]}', 422, "invalid_request", "texts[0]: "),
        (b'{"texts": [], "explain": "yes"}', 422, "invalid_request", "explain: "),
        (b'{"texts": [], "secret\\u001b[31m": 1}', 422, "invalid_request", "an unknown field: "),
        (b'{"texts": ["a"], "text_pairs": ["b"]}', 422, "invalid_request", "text_pairs: "),
    ],
)
def test_a_body_of_another_form_is_refused_by_its_place(
    classifier: TextClassifier, body: bytes, status: int, code: str, found: str
) -> None:
    response = classify(classifier, body)
    check_fault(response, status, code, found)
    assert "secret" not in response.text


HOSTILE_BODIES = {
    "quotes that are never closed": b'"' + b'\\"' * 999_000,
    "quotes, and half an escape": b'"' + b'\\"' * 999_000 + b"\\",
    "arrays that are never closed": b"[" * 1_999_000,
    "objects that are never closed": b'{"a":' * 399_000,
    "arrays in arrays": b'{"texts": ' + b"[" * 900_000 + b"]" * 900_000 + b"}",
    "numbers for texts": b'{"texts": [' + b"1," * 900_000 + b"1]}",
    "one long number": b'{"texts": ' + b"1" * 1_900_000 + b"}",
    "unknown fields": b"{" + b",".join(b'"%d":1' % n for n in range(150_000)) + b"}",
    "empty texts": b'{"texts": [' + b'"",' * 600_000 + b'""]}',
}


@pytest.mark.parametrize("name", HOSTILE_BODIES)
def test_a_hostile_body_takes_little_time_and_memory(classifier: TextClassifier, name: str) -> None:
    limits, model = Limits(), served(classifier)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(RequestError) as refused:
        parse_body(HOSTILE_BODIES[name], limits, model)
    seconds = time.process_time() - started
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.status in (400, 413, 422)
    assert len(refused.value.found) < 100
    assert seconds < 2  # 0.4 at most, and without the counting of memory 0.1
    assert most < 200_000_000


def test_brackets_inside_of_texts_are_text(classifier: TextClassifier) -> None:
    assert classify(classifier, {"texts": ["[" * 50, '\\"[[[[[[[[[[']}).status_code == 200


@pytest.mark.parametrize(
    ("limits", "content", "code", "found"),
    [
        ({"max_texts": 2}, {"texts": ["a"] * 3}, "too_many_texts", "3 texts"),
        ({"max_explained": 1}, {"texts": ["a"] * 2, "explain": True}, "too_many_texts", "2 texts"),
        ({"max_characters": 4}, {"texts": ["ab", "abcde"]}, "text_too_long", "texts[1]: 5 char"),
        ({"max_body_bytes": 20}, {"texts": ["a" * 9]}, "body_too_large", "a body of 23 bytes"),
    ],
)
def test_more_than_is_taken_at_once_is_refused(
    classifier: TextClassifier, limits: dict[str, int], content: Any, code: str, found: str
) -> None:
    check_fault(classify(classifier, content, **limits), 413, code, found)


def test_a_body_in_chunks_is_refused_while_it_comes(classifier: TextClassifier) -> None:
    sent = []

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(1_000):
            sent.append(number)
            yield b" " * 100

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(
            "/classify", content=chunks(), headers={"content-type": "application/json"}
        )

    response = ask(classifier, talk, max_body_bytes=1_000)
    check_fault(response, 413, "body_too_large", "more than 1,000 bytes")
    assert len(sent) < 20


def test_all_bodies_at_hand_are_bounded_together(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        hold.batches.clear()
        hold.is_free.clear()
        large = {"texts": ["a" * 600]}
        first = asyncio.create_task(client.post("/classify", json=large))
        await soon(lambda: hold.batches != [])
        refused = await client.post("/classify", json=large)
        small = asyncio.create_task(client.post("/classify", json={"texts": ["a"]}))
        await asyncio.sleep(0.1)
        hold.is_free.set()
        assert [(await task).status_code for task in (first, small)] == [200, 200]
        assert (await client.post("/classify", json=large)).status_code == 200
        return refused

    response = ask(fresh, talk, max_bytes_at_hand=1_000)
    check_fault(response, 429, "overloaded", "bytes wait already, of at most 1,000")
    assert response.headers["retry-after"] == "1"


def test_a_body_that_does_not_come_is_not_waited_for(classifier: TextClassifier) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b'{"texts'
        await asyncio.sleep(30)
        yield b'": []}'

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(
            "/classify", content=drip(), headers={"content-type": "application/json"}
        )

    response = ask(classifier, talk, request_seconds=0.1)
    check_fault(response, 408, "slow_body")
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},  # what a page elsewhere may send without asking first
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {},
    ],
)
def test_a_body_that_is_no_plain_json_by_its_head_is_refused(
    classifier: TextClassifier, headers: dict[str, str]
) -> None:
    response = ask(
        classifier, lambda client: client.post("/classify", content=b"{}", headers=headers)
    )
    check_fault(response, 415, "unsupported_media_type")


def test_a_full_queue_is_told_with_the_time_to_come_again(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        hold.batches.clear()
        hold.is_free.clear()
        first = asyncio.create_task(client.post("/classify", json={"texts": ["a"]}))
        await soon(lambda: hold.batches != [])
        second = asyncio.create_task(client.post("/classify", json={"texts": ["b"] * 3}))
        await asyncio.sleep(0.2)
        refused = await client.post("/classify", json={"texts": ["c"]})
        alive = await client.get("/livez")
        hold.is_free.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]
        assert alive.status_code == 200
        return refused

    response = ask(fresh, talk, max_waiting=4)
    check_fault(response, 429, "overloaded", "4 texts wait already, of at most 4")
    assert int(response.headers["retry-after"]) >= 1


def test_many_responses_at_the_end_of_a_batch_let_a_probe_in_between(fresh: TextClassifier) -> None:
    hold = Hold(fresh)
    turns: list[int] = []  # of the loop, in which a response was made
    turn = 0

    async def count_turns() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    async def one(client: httpx.AsyncClient, text: str) -> None:
        response = await client.post("/classify", json={"texts": [text]})
        assert response.status_code == 200
        turns.append(turn)

    async def talk(client: httpx.AsyncClient) -> None:
        hold.batches.clear()
        hold.is_free.clear()
        tasks = [asyncio.create_task(one(client, "at work"))]
        await soon(lambda: hold.batches != [])
        tasks += [asyncio.create_task(one(client, f"{number}")) for number in range(40)]
        await asyncio.sleep(0.5)
        counting = asyncio.create_task(count_turns())
        hold.is_free.set()
        await asyncio.gather(*tasks)
        counting.cancel()

    ask(fresh, talk)
    assert hold.batches == [1, 40]
    assert len(set(turns)) == len(turns) == 41


def test_a_request_that_takes_too_long_is_told_and_its_place_is_free(
    fresh: TextClassifier,
) -> None:
    hold = Hold(fresh)

    async def run() -> None:
        with serving(fresh, request_seconds=0.3) as (service, events):
            async with asking(service, events) as client:
                hold.batches.clear()
                hold.is_free.clear()
                tasks = [asyncio.create_task(client.post("/classify", json={"texts": ["at work"]}))]
                await soon(lambda: hold.batches != [])
                tasks += [
                    asyncio.create_task(client.post("/classify", json={"texts": [f"{n}"]}))
                    for n in range(2)
                ]
                responses = [await task for task in tasks]
                assert service.queue.held("answers") == 0
                hold.is_free.set()
                after = await client.post("/classify", json={"texts": ["after"]})
            assert service.dropped == {"timeout": 3, "departed": 0}
        for response in responses:
            check_fault(response, 504, "timeout", "no answer within 0.3 s")
        assert after.status_code == 200
        assert hold.batches == [1, 1]  # what waited was never read

    asyncio.run(run())


def test_a_client_that_leaves_is_counted_and_its_text_is_never_read(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def run() -> None:
        with serving(fresh) as (service, events):
            async with asking(service, events) as client:
                hold.batches.clear()
                hold.is_free.clear()
                first = asyncio.create_task(client.post("/classify", json={"texts": ["a"]}))
                await soon(lambda: hold.batches != [])
                app = client._transport.app  # type: ignore[attr-defined]
                await asyncio.gather(*(leave_after_sending(app) for _ in range(100)))
                assert service.queue.held("answers") == 1  # the first one's
                hold.is_free.set()
                await first
                metrics = (await client.get("/metrics")).text
        assert 'lasttoken_dropped_requests_total{reason="departed"} 100.0' in metrics
        assert hold.batches == [1]

    asyncio.run(run())


async def leave_after_sending(app: Any) -> None:
    """Speak ASGI as a server does whose client closes the connection after its request."""
    body = json.dumps({"texts": ["gone"]}).encode()
    messages = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        if len(messages) == 1:
            await asyncio.sleep(0.1)
        return messages.pop(0)

    async def send(_message: Any) -> None:
        return

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": "/classify", "raw_path": b"/classify", "root_path": "", "query_string": b"",
        "scheme": "http", "headers": headers, "server": ("localhost", 80), "client": None,
    }  # fmt: skip
    await app(scope, receive, send)


def raise_it() -> None:
    raise RuntimeError("a secret text of a user")


@pytest.mark.parametrize("how", [raise_it, float("nan"), float("inf")])
def test_a_fault_of_the_model_is_500_with_an_id_that_the_log_knows(
    fresh: TextClassifier, how: Any
) -> None:
    spoil(fresh, how)

    async def run() -> tuple[httpx.Response, list[Any]]:
        with serving(fresh) as (service, events):
            async with asking(service, events) as client:
                return await client.post("/classify", json={"texts": [POISON]}), events

    response, events = asyncio.run(run())
    check_fault(response, 500, "internal_error")
    assert "secret" not in response.text
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(response.headers["x-request-id"] in note for note in notes)
    assert not any("secret" in note for note in notes)


def test_probes_tell_starting_ready_failing_and_dead_apart(fresh: TextClassifier) -> None:
    def die() -> None:
        raise SystemExit

    spoil(fresh, die)

    async def statuses(client: httpx.AsyncClient) -> tuple[int, int]:
        live, ready = [await client.get(path) for path in ("/livez", "/readyz")]
        return live.status_code, ready.status_code

    async def run() -> None:
        with serving(fresh, is_started=False) as (service, events):
            async with asking(service, events) as client:
                assert await statuses(client) == (200, 503)
                check_fault(
                    await client.post("/classify", json={"texts": []}), 503, "not_ready", "not re"
                )
                service.start()
                await soon(lambda: service.unready is None)
                assert await statuses(client) == (200, 200)
                check_fault(
                    await client.post("/classify", json={"texts": [POISON]}), 500, "internal_error"
                )
                assert await statuses(client) == (503, 503)
                late = await client.post("/classify", json={"texts": []})
                check_fault(late, 503, "not_ready", "has died")
                assert int(late.headers["retry-after"]) > 0
            service.stop()

    asyncio.run(run())


def test_info_tells_the_model_and_the_limits_but_no_path(
    classifier: TextClassifier, finished_run: Any
) -> None:
    response = ask(classifier, lambda client: client.get("/info"), max_texts=7)
    info = response.json()
    assert info["task"] == "single-label"
    assert info["labels"] == ["neg", "pos"]
    assert info["max_length"] == 32
    assert info["precision"] == "fp32"
    assert info["reading_path"] == "packed"
    assert info["limits"]["max_texts"] == 7
    assert str(finished_run) not in response.text


def test_metrics_count_requests_texts_tokens_and_batches(classifier: TextClassifier) -> None:
    async def talk(client: httpx.AsyncClient) -> str:
        await client.post("/classify", json={"texts": ["ab", "abc"]})
        await client.post("/classify", json={"texts": 1})
        return (await client.get("/metrics")).text

    text = ask(classifier, talk)
    for line in (
        'lasttoken_requests_total{status="200"} 1.0',
        'lasttoken_requests_total{status="422"} 1.0',
        'lasttoken_texts_total{lane="answers"} 2.0',
        "lasttoken_tokens_total 5.0",
        "lasttoken_batches_total 1.0",
        'lasttoken_waiting_texts{lane="answers"} 0.0',
        'lasttoken_dropped_requests_total{reason="departed"} 0.0',
        "lasttoken_ready 1.0",
    ):
        assert line in text.splitlines(), line


def test_openapi_describes_the_shape_of_this_model(classifier: TextClassifier) -> None:
    schema = ask(classifier, lambda client: client.get("/openapi.json")).json()
    prediction = schema["components"]["schemas"]["Prediction"]["properties"]
    assert list(prediction) == ["label", "score", "truncated", "probabilities", "words"]
    statuses = set(schema["paths"]["/classify"]["post"]["responses"])
    assert statuses == {"200", "400", "408", "413", "415", "422", "429", "500", "503", "504"}
    assert set(schema["paths"]) == {"/classify", "/livez", "/readyz", "/info", "/metrics"}


def test_openapi_says_where_a_key_is_asked_for(classifier: TextClassifier) -> None:
    headers = {"x-api-key": KEY}
    schema = ask(
        classifier, lambda client: client.get("/openapi.json", headers=headers), access=KEYED
    ).json()
    asking_for_it = {
        path for path, item in schema["paths"].items()
        if any("security" in operation for operation in item.values())
    }  # fmt: skip
    assert asking_for_it == {"/classify", "/info", "/metrics"}
    assert "401" in schema["paths"]["/classify"]["post"]["responses"]


@pytest.mark.parametrize("path", ["/nothing", "/docs", "/redoc", "/classify/", "/..%2f..%2fetc"])
def test_other_paths_are_refused_in_the_same_form(classifier: TextClassifier, path: str) -> None:
    response = ask(classifier, lambda client: client.get(path))
    check_fault(response, 404, "no_such_route")
    assert ask(classifier, lambda client: client.get("/classify")).status_code == 405


def test_every_response_carries_the_headers_that_protect(classifier: TextClassifier) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.get("/"),
            await client.get("/nothing"),
            await client.post("/classify", json={"texts": ["x"]}),
            await client.get("/", headers={"host": "example.org"}),
        ]

    for response in ask(classifier, talk):
        policy = response.headers["content-security-policy"]
        assert policy.startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            "frame-ancestors 'none'"
        )
        assert response.headers["x-content-type-options"] == "nosniff"
        assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
        assert not any(name.startswith("access-control") for name in response.headers)


def test_the_page_is_small_and_holds_nothing_that_its_policy_forbids() -> None:
    files = page_files()
    assert set(files) == {"/", "/page.css", "/page.js", "/report.css"}
    assert sum(len(file.content) for file in files.values()) < 40_000
    html, script = (files[path].content.decode() for path in ("/", "/page.js"))
    assert not re.search(r"<style|<script(?! src=)|\son\w+=|\sstyle=|https?://|javascript:", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)
    # The one address of another site is a name, which is never asked.
    assert re.findall(r"https?://[^\"]+", script) == ["http://www.w3.org/2000/svg"]


def test_a_page_elsewhere_may_not_ask(classifier: TextClassifier) -> None:
    headers = {"origin": "https://example.org", "access-control-request-method": "POST"}
    response = ask(classifier, lambda client: client.options("/classify", headers=headers))
    assert response.status_code == 405
    assert not any(name.startswith("access-control") for name in response.headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:80", 200), ("[::1]:8000", 200),
        ("127.8.8.8", 200), ("example.org", 421), ("localhost.example.org", 421), ("", 421),
        ("127.0.0.1.example.org", 421), ("169.254.169.254", 421), ("localhost:80@x", 421),
    ],
)  # fmt: skip
def test_without_a_key_only_names_of_this_machine_are_served(
    classifier: TextClassifier, host: str, status: int
) -> None:
    response = ask(classifier, lambda client: client.get("/readyz", headers={"host": host}))
    assert response.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY}"}, 200),
        ({"x-api-key": KEY}, 200),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": f"Bearer {KEY}x"}, 401),
        ({"authorization": f"Bearer {KEY[:-1]}"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"x-api-key": b"\xe9\xff"}, 401),
    ],
)
def test_a_key_is_asked_for_everywhere_but_at_the_probes_and_the_page(
    classifier: TextClassifier, headers: dict[str, str], status: int
) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        paths = ("/info", "/metrics", "/openapi.json", "/livez", "/readyz", "/", "/page.js")
        responses = [await client.get(path, headers=headers) for path in paths]
        asked = await client.post("/classify", json={"texts": ["x"]}, headers=headers)
        return [asked, *responses]

    responses = ask(classifier, talk, access=KEYED)
    assert [response.status_code for response in responses] == [status] * 4 + [200] * 4
    if status == 401:
        check_fault(responses[0], 401, "no_key")
        assert responses[0].headers["www-authenticate"] == "Bearer"


def test_addresses_are_texts_like_any_other(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[Any] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *words, **_: looked_up.append(words))
    # That any other socket than a pair of this process is refused, every test holds to.
    texts = ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "http://localhost/"]
    expected = classifier.predict(texts).tolist()
    response = classify(classifier, {"texts": texts})
    assert [one["label"] for one in response.json()["predictions"]] == expected
    assert looked_up == []


def test_texts_are_told_to_nobody(classifier: TextClassifier, caplog: Any, capfd: Any) -> None:
    text = "\x1b[31mred\nINFO forged line"

    async def run() -> list[Any]:
        with serving(classifier) as (service, events):
            async with asking(service, events) as client:
                await client.post("/classify", json={"texts": [text], "explain": True})
                await client.post("/classify", json={"texts": [text], text: text})
                await client.post("/classify?x=forged", content=text.encode())
                await client.get("/forged%0aline")
            return events

    with caplog.at_level("DEBUG", logger="lasttoken"):
        events = asyncio.run(run())
    assert events == []
    assert "forged" not in caplog.text + "".join(capfd.readouterr())

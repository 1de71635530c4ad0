"""Requests to a tiny real model, without HTTP: equal answers, fair shares, all kinds of faults."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from served import POISON, TEXTS, Hold, serving, soon, spoil, wait_until

from lasttoken import TextClassifier
from lasttoken.deploy.serving.batcher import ModelFaultError
from lasttoken.deploy.serving.refusal import RequestError
from lasttoken.deploy.serving.service import Answers, Service
from lasttoken.evaluation.leaving_out import explain_by_leaving_out
from lasttoken.events import Note

SAME = 1e-5  # of a probability, fp32: what is promised, whatever the batch


def one(text: str) -> list[tuple[str]]:
    return [(text,)]


def probs_offline(classifier: TextClassifier, texts: list[str]) -> np.ndarray:
    return classifier.probs(classifier.predict_logits(classifier.tokenize(texts)))


def test_a_text_gets_what_predict_gives_whatever_it_rides_with(classifier: TextClassifier) -> None:
    expected = probs_offline(classifier, TEXTS)
    chance = random.Random(0)
    requests = [
        [chance.randrange(len(TEXTS)) for _ in range(chance.randint(1, 12))] for _ in range(60)
    ]

    async def run(service: Service) -> list[Answers]:
        return await asyncio.gather(
            *(service.classify([(TEXTS[n],) for n in request]) for request in requests)
        )

    with serving(classifier, max_tokens_per_batch=300) as (service, _):
        answers = asyncio.run(run(service))
    for request, answer in zip(requests, answers):
        np.testing.assert_allclose(answer.probs, expected[request], rtol=0, atol=SAME)
    assert service.batcher.counts.num_batches < sum(map(len, requests))  # they did share batches
    assert service.queue.held("answers") == 0


def test_no_text_gets_no_answer_and_no_error(classifier: TextClassifier) -> None:
    with serving(classifier) as (service, _):
        answer = asyncio.run(service.classify([], explain=True))
    assert answer.probs.shape == (0, 2)
    assert answer.words == []


def test_words_weigh_what_explain_says(classifier: TextClassifier) -> None:
    texts = ["a wonderful film, number 3", "", "a dreadful film"]
    expected = explain_by_leaving_out(
        classifier, texts, probs_offline(classifier, texts).argmax(axis=1)
    )
    with serving(classifier) as (service, _):
        answer = asyncio.run(service.classify([(text,) for text in texts], explain=True))
    assert answer.words is not None
    for words, spans in zip(answer.words, expected):
        assert [text for text, _ in words] == [span.text for span in spans]
        np.testing.assert_allclose(
            [weight for _, weight in words], [span.weight for span in spans], atol=SAME
        )
    assert service.queue.held("words") == 0


def test_an_explanation_does_not_keep_plain_answers_waiting(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def run(service: Service) -> tuple[int, Answers]:
        hold.batches.clear()
        hold.is_free.clear()
        long = asyncio.create_task(service.classify(one("a film so long " * 6), explain=True))
        await soon(lambda: len(hold.batches) == 1)
        hold.is_free.set()
        await soon(lambda: service.queue.num_waiting or long.done())
        answer = await service.classify(one("short"))
        behind = len(hold.batches)
        await long
        return len(hold.batches) - behind, answer

    with serving(fresh, max_tokens_per_batch=32) as (service, _):
        batches_after, answer = asyncio.run(run(service))
    assert batches_after > 2  # most of the explanation was still to be read
    assert answer.probs.shape == (1, 2)


def test_the_model_is_not_asked_before_it_has_passed_its_check(classifier: TextClassifier) -> None:
    with serving(classifier, is_started=False) as (service, _):
        assert service.unready == "the model is not ready yet"
        with pytest.raises(RequestError, match="not ready yet") as refused:
            asyncio.run(service.classify(one("x")))
        assert refused.value.status == 503
        service.start()
        wait_until(lambda: service.unready is None)
        asyncio.run(service.classify(one("x")))
        service.stop()


def test_the_check_at_the_start_reads_a_whole_batch(fresh: TextClassifier) -> None:
    hold = Hold(fresh)
    with serving(fresh, max_tokens_per_batch=320):
        pass
    assert hold.batches == [1, 10]  # one text; then ten of the model's 32 tokens


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def run(service: Service) -> RequestError:
        hold.batches.clear()
        hold.is_free.clear()
        at_work = asyncio.create_task(service.classify(one("at work")))
        await soon(lambda: hold.batches != [])
        waiting = [asyncio.create_task(service.classify(one(f"{n}"))) for n in range(4)]
        await soon(lambda: service.queue.held("answers") == 5)
        with pytest.raises(RequestError) as refused:
            await service.classify(one("one too many"))
        hold.is_free.set()
        await asyncio.gather(at_work, *waiting)
        await service.classify(one("room again"))
        return refused.value

    with serving(fresh, max_waiting=5) as (service, _):
        refusal = asyncio.run(run(service))
    assert refusal.status == 429
    assert refusal.found == "5 texts wait already, of at most 5"
    assert int(refusal.headers["Retry-After"]) >= 1
    assert sum(hold.batches) == 6


def test_a_request_to_explain_holds_places_of_both_kinds_or_none(fresh: TextClassifier) -> None:
    async def run(service: Service) -> None:
        with pytest.raises(RequestError, match="texts to explain wait already"):
            await service.classify([("a",), ("b",)], explain=True)

    with serving(fresh, max_waiting_explained=1) as (service, _):
        asyncio.run(run(service))
        assert service.queue.held("answers") == service.queue.held("words") == 0


def test_the_text_of_who_has_gone_is_never_read(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def run(service: Service) -> None:
        hold.batches.clear()
        hold.is_free.clear()
        at_work = asyncio.create_task(service.classify(one("at work")))
        await soon(lambda: hold.batches != [])
        waiting = [asyncio.create_task(service.classify(one(f"{n}"))) for n in range(100)]
        await soon(lambda: service.queue.held("answers") == 101)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert service.queue.held("answers") == 1
        hold.is_free.set()
        await at_work
        await service.classify(one("next"))

    with serving(fresh) as (service, _):
        asyncio.run(run(service))
    assert hold.batches == [1, 1]


def test_an_explanation_nobody_waits_for_ends(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def run(service: Service) -> None:
        task = asyncio.create_task(service.classify([("a film so long " * 6,)] * 3, explain=True))
        await soon(lambda: service.batcher.counts.num_texts["words"] > 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda: service.queue.num_waiting == 0)
        before = service.batcher.counts.num_texts["words"]
        await service.classify(one("x"))
        # Two texts are a batch: the one at hand is still counted, no other is read.
        assert service.batcher.counts.num_texts["words"] - before <= 2

    with serving(fresh, max_tokens_per_batch=64) as (service, _):
        asyncio.run(run(service))
        assert service.queue.held("words") == 0
    assert hold.batches


def failing_with(service: Service, texts: list[str]) -> list[Any]:
    """Ask all at once, so that they share a batch; return answers and errors."""

    async def run() -> list[Any]:
        return await asyncio.gather(
            *(service.classify(one(text)) for text in texts), return_exceptions=True
        )

    return asyncio.run(run())


def raise_it() -> None:
    raise RuntimeError("a secret text of a user")


def test_a_model_that_raises_fails_the_request_alone_and_is_checked(
    fresh: TextClassifier, classifier: TextClassifier
) -> None:
    spoil(fresh, raise_it)
    texts = ["fine", POISON, "fine too"]
    with serving(fresh) as (service, events):
        good, bad, other = failing_with(service, texts)
        wait_until(lambda: service.unready is None)  # the check has passed
        again = asyncio.run(service.classify(one("fine")))
    expected = probs_offline(classifier, ["fine", "fine too"])
    np.testing.assert_allclose(good.probs, expected[:1], atol=SAME)
    np.testing.assert_allclose(other.probs, expected[1:], atol=SAME)
    np.testing.assert_allclose(again.probs, expected[:1], atol=SAME)
    assert isinstance(bad, RuntimeError)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any("RuntimeError" in note and "raise_it" in note for note in notes)
    assert not any("secret" in note for note in notes)


def test_a_model_that_answers_no_number_fails_the_request_alone(fresh: TextClassifier) -> None:
    spoil(fresh, float("nan"))
    with serving(fresh) as (service, _):
        good, bad = failing_with(service, ["fine", POISON])
    assert isinstance(good, Answers)
    assert isinstance(bad, ModelFaultError)


def test_a_model_that_fails_its_check_is_not_ready_until_it_passes(fresh: TextClassifier) -> None:
    head = fresh.loaded_.classifier.hf_model.score.weight
    whole = head.detach().clone()
    with serving(fresh) as (service, _):
        head.data.fill_(float("nan"))
        (answer,) = failing_with(service, ["x"])
        assert isinstance(answer, ModelFaultError)
        wait_until(lambda: service.batcher.counts.num_faults > 3)
        assert service.unready == "the model has failed and is being checked"
        assert service.is_alive
        with pytest.raises(RequestError, match="being checked"):
            asyncio.run(service.classify(one("x")))
        head.data.copy_(whole)
        wait_until(lambda: service.unready is None)
        assert np.isfinite(asyncio.run(service.classify(one("x"))).probs).all()


def test_a_thread_that_dies_leaves_nobody_waiting_and_nothing_healthy(
    fresh: TextClassifier,
) -> None:
    def die() -> None:
        raise SystemExit

    spoil(fresh, die)
    hold = Hold(fresh)

    async def run(service: Service) -> list[Any]:
        hold.is_free.clear()
        at_work = asyncio.create_task(service.classify(one("at work")))
        await soon(lambda: len(hold.batches) == 3)
        texts = ("fine", POISON, "fine")
        waiting = [asyncio.create_task(service.classify(one(text))) for text in texts]
        await soon(lambda: service.queue.num_waiting == 3)
        hold.is_free.set()
        assert isinstance(await at_work, Answers)
        return await asyncio.gather(*waiting, return_exceptions=True)

    with serving(fresh) as (service, events):
        outcomes = asyncio.run(run(service))
        assert all(isinstance(outcome, ModelFaultError) for outcome in outcomes)
        assert not service.is_alive
        assert service.unready == "the model's thread has died"
        with pytest.raises(RequestError, match="has died"):
            asyncio.run(service.classify(one("x")))
        assert service.queue.held("answers") == 0
    assert any(isinstance(event, Note) and "has died" in event.text for event in events)


def test_what_was_accepted_is_finished_after_the_door_is_closed(fresh: TextClassifier) -> None:
    hold = Hold(fresh)

    async def run(service: Service) -> None:
        hold.is_free.clear()
        accepted = asyncio.create_task(service.classify([(f"{n}",) for n in range(9)]))
        await soon(lambda: service.queue.held("answers") > 0 or len(hold.batches) > 2)
        service.close()
        assert service.unready == "the server is shutting down"
        with pytest.raises(RequestError, match="shutting down"):
            await service.classify(one("late"))
        assert not await service.finish(0.05)
        hold.is_free.set()
        assert await service.finish(60)
        assert (await accepted).probs.shape == (9, 2)

    with serving(fresh) as (service, _):
        asyncio.run(run(service))

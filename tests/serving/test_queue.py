"""What waits for the model: order, budget, bounds, and leaving; no model is needed for that."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lasttoken.deploy.serving.queue import (
    FullError,
    Job,
    LeftError,
    Part,
    Stretch,
    WorkQueue,
)


def make_queue(answers: int = 100, words: int = 10) -> WorkQueue:
    return WorkQueue({"answers": answers, "words": words})


def wait_in(queue: WorkQueue, *sizes: int, name: str = "a", lane: str = "answers") -> Job:
    """Admit and submit a job whose texts are called a0, a1 ..."""
    job = queue.admit(len(sizes), lane)
    queue.submit(job, [f"{name}{n}" for n in range(len(sizes))], np.array(sizes, dtype=np.int64))
    return job


def names(parts: list[Part] | None) -> list[str]:
    assert parts is not None
    return [text for part in parts for text in part.content]


def test_texts_are_taken_in_the_order_in_which_they_came() -> None:
    queue = make_queue()
    for name in "abc":
        wait_in(queue, 1, 1, name=name)
    assert names(queue.take(100)) == ["a0", "a1", "b0", "b1", "c0", "c1"]


def test_a_batch_ends_at_the_budget_and_the_rest_of_a_job_stays_first() -> None:
    queue = make_queue()
    wait_in(queue, 4, 4, 4)
    wait_in(queue, 1, name="b")
    assert names(queue.take(9)) == ["a0", "a1"]
    assert names(queue.take(9)) == ["a2", "b0"]


def test_a_text_above_the_budget_rides_alone() -> None:
    queue = make_queue()
    wait_in(queue, 50)
    wait_in(queue, 1, name="b")
    assert names(queue.take(10)) == ["a0"]
    assert names(queue.take(10)) == ["b0"]


def test_what_waits_is_taken_at_once_and_never_kept_for_more() -> None:
    queue = make_queue()
    wait_in(queue, 1)
    started = time.perf_counter()
    assert names(queue.take(1_000)) == ["a0"]
    assert time.perf_counter() - started < 1


def test_taking_waits_for_a_text_that_is_still_to_come() -> None:
    queue = make_queue()
    timer = threading.Timer(0.2, wait_in, (queue, 1))
    timer.start()
    assert names(queue.take(10, timeout=30)) == ["a0"]
    timer.join()


def test_taking_from_an_empty_queue_ends_with_its_timeout() -> None:
    assert make_queue().take(10, timeout=0.01) == []


def test_the_queue_is_bounded_in_texts_and_tells_what_is_held() -> None:
    queue = make_queue(answers=5)
    wait_in(queue, 1, 1, 1, 1)
    with pytest.raises(FullError) as full:
        queue.admit(2)
    assert (full.value.held, full.value.most) == (4, 5)
    wait_in(queue, 1, name="b")
    assert queue.held("answers") == 5


def test_a_place_is_free_as_soon_as_its_text_is_answered() -> None:
    queue = make_queue(answers=3)
    wait_in(queue, 1, 1, 1)
    (part,) = queue.take(2)
    with pytest.raises(FullError):
        queue.admit(1)
    queue.answer(part, np.zeros((2, 2)))
    assert queue.held("answers") == 1
    queue.admit(2)


def test_lanes_have_bounds_of_their_own() -> None:
    queue = make_queue(answers=1, words=1)
    queue.admit(1, "answers")
    queue.admit(1, "words")
    with pytest.raises(FullError):
        queue.admit(1, "words")


def test_lanes_are_served_in_turn_while_both_have_work() -> None:
    queue = make_queue()
    wait_in(queue, *[1] * 4, name="w", lane="words")
    wait_in(queue, *[1] * 4)
    taken = [names(queue.take(1))[0] for _ in range(8)]
    assert taken == ["a0", "w0", "a1", "w1", "a2", "w2", "a3", "w3"]


def test_a_lane_does_not_wait_for_its_turn_if_the_other_has_no_work() -> None:
    queue = make_queue()
    wait_in(queue, 1, 1)
    assert [names(queue.take(1)) for _ in range(2)] == [["a0"], ["a1"]]


def test_an_answer_is_given_when_the_last_part_is_there_in_the_order_of_the_texts() -> None:
    queue = make_queue()
    job = wait_in(queue, 1, 1, 1)
    (first,) = queue.take(2) or []
    queue.answer(first, np.array([[0.1], [0.2]]))
    assert not job.future.done()
    (second,) = queue.take(2) or []
    queue.answer(second, np.array([[0.3]]))
    assert job.future.result(0).tolist() == [[0.1], [0.2], [0.3]]


def test_who_leaves_is_never_taken_and_holds_no_place() -> None:
    queue = make_queue(answers=2)
    gone = wait_in(queue, 1, 1)
    queue.leave(gone)
    assert queue.held("answers") == 0
    stays = wait_in(queue, 1, name="b")
    assert names(queue.take(10)) == ["b0"]
    with pytest.raises(LeftError):
        gone.future.result(0)
    queue.leave(stays)
    assert queue.held("answers") == 0


def test_who_leaves_while_a_part_is_computed_loses_the_rest() -> None:
    queue = make_queue()
    job = wait_in(queue, 1, 1)
    (part,) = queue.take(1) or []
    queue.leave(job)
    queue.answer(part, np.zeros((1, 1)))
    assert queue.take(10, timeout=0) == []


def test_who_leaves_before_the_tokens_are_there_does_not_come_back_with_them() -> None:
    queue = make_queue()
    job = queue.admit(1)
    queue.leave(job)
    queue.submit(job, ["a0"], np.array([1]))
    assert queue.take(10, timeout=0) == []


def test_leaving_twice_gives_a_place_back_once() -> None:
    queue = make_queue()
    first, _second = wait_in(queue, 1), wait_in(queue, 1)
    queue.leave(first)
    queue.leave(first)
    assert queue.held("answers") == 1


def test_a_failed_job_holds_nothing_and_the_others_go_on() -> None:
    queue = make_queue()
    bad = wait_in(queue, 1, 1)
    wait_in(queue, 1, name="b")
    queue.fail(bad, ValueError("why"))
    with pytest.raises(ValueError, match="why"):
        bad.future.result(0)
    assert names(queue.take(10)) == ["b0"]


def test_a_stopped_queue_fails_what_waits_and_what_comes_later() -> None:
    queue = make_queue()
    early, late = wait_in(queue, 1), queue.admit(1)
    queue.stop(ValueError("over"))
    queue.submit(late, ["x"], np.array([1]))
    for job in (early, late):
        with pytest.raises(ValueError, match="over"):
            job.future.result(0)
    assert queue.take(10) is None
    assert queue.held("answers") == 0


def test_when_to_come_again_follows_from_the_pace_that_was_measured() -> None:
    queue = make_queue(answers=10)
    wait_in(queue, *[1] * 10)
    with pytest.raises(FullError) as unknown:
        queue.admit(1)
    assert unknown.value.retry_seconds == 1
    queue.measure("answers", seconds=8.0, num_texts=10)
    with pytest.raises(FullError) as known:
        queue.admit(1)
    assert known.value.retry_seconds == 8


def test_the_newest_pace_weighs_a_fifth() -> None:
    queue = make_queue(answers=10)
    wait_in(queue, *[1] * 10)
    queue.measure("answers", 10.0, 10)
    queue.measure("answers", 60.0, 10)
    with pytest.raises(FullError) as full:
        queue.admit(1)
    assert full.value.retry_seconds == 20  # 10 texts at 0.8 x 1 s + 0.2 x 6 s


def test_there_is_no_room_behind_what_takes_too_long() -> None:
    queue = WorkQueue({"answers": 100, "words": 1}, longest_wait=10.0)
    queue.measure("answers", seconds=3.0, num_texts=1)
    wait_in(queue, *[1] * 4)  # nothing waits yet: a request has as much room as there is
    with pytest.raises(FullError) as full:
        queue.admit(1)
    assert full.value.is_late
    assert full.value.retry_seconds == 12
    (part,) = queue.take(1)
    queue.answer(part, np.zeros((1, 2)))
    queue.admit(1)


def test_idle_time_is_not_measured_but_time_between_batches_is() -> None:
    stretch = Stretch()
    started = time.perf_counter() - 1.0
    assert stretch.lap(started, more=True) == pytest.approx(1.0, abs=0.2)
    # Work waited at the end of the last lap: the seconds since then count.
    assert stretch.lap(started - 100, more=False) < 0.5
    # None did: those before the start do not.
    assert stretch.lap(time.perf_counter() - 2.0, more=False) == pytest.approx(2.0, abs=0.2)


@settings(max_examples=100, deadline=None)
@given(
    jobs=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), max_size=12),
    budget=st.integers(1, 20),
    leaving=st.sets(st.integers(0, 11)),
)
def test_every_text_that_stays_is_taken_once_within_the_budget(
    jobs: list[list[int]], budget: int, leaving: set[int]
) -> None:
    queue = make_queue(answers=1_000)
    waiting = [wait_in(queue, *sizes, name=f"{n}-") for n, sizes in enumerate(jobs)]
    for place in leaving & set(range(len(jobs))):
        queue.leave(waiting[place])
    taken: list[str] = []
    while parts := queue.take(budget, timeout=0):
        tokens = sum(int(part.job.sizes[part.start : part.stop].sum()) for part in parts)
        assert tokens <= budget or len(names(parts)) == 1
        taken += names(parts)
        for part in parts:
            queue.answer(part, np.zeros((part.stop - part.start, 1)))
    stayed = [n for n in range(len(jobs)) if n not in leaving]
    assert taken == [f"{n}-{text}" for n in stayed for text in range(len(jobs[n]))]
    assert all(len(waiting[n].future.result(0)) == len(jobs[n]) for n in stayed)
    assert queue.held("answers") == 0

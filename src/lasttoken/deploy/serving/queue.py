"""What waits for the model: jobs in two lanes, bounded in texts, handed out under a token budget.

    answers    | 3 texts of A | 1 of B | 40 of C ...      texts to classify
    words      | 60 of D ...                              texts without one of their words

First come, first served within a lane; while both lanes have work, every other batch is of words,
so that neither an explanation of 64 readings keeps plain answers waiting, nor the other way round.
A batch takes as many texts as fit into the budget, also a part of a job; the rest of it stays at
the head. Who is gone is taken out before anything is computed.

A text holds its place until it is answered. So who is let in waits for no more texts than there are
places, and for those that share the last one's batch.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Lane = Literal["answers", "words"]

# Weight of the newest measurement in the running mean of a lane's pace.
_NEWEST = 0.2


class FullError(Exception):
    """There is no room for a job.

    Args:
        held: places taken.
        most: places in all.
        retry_seconds: until what waits now is done, at the pace measured; at least 1.
        is_late: there are places, but what waits takes too long already.
    """

    def __init__(self, held: int, most: int, retry_seconds: int, *, is_late: bool) -> None:
        super().__init__(held, most, retry_seconds)
        self.held = held
        self.most = most
        self.retry_seconds = retry_seconds
        self.is_late = is_late


class LeftError(Exception):
    """Nobody waits for this job's answer any more."""


@dataclass(eq=False)
class Job:
    """Texts of one request that go the same way.

    Attributes:
        lane: where it waits.
        places: places it holds in that lane; a text's place is free once it is answered.
        content: N texts as the model takes them; set when they are tokenized.
        sizes: (N,) tokens of each.
        future: (N, C) float64 probabilities, or why there are none.
        num_taken: texts handed out so far.
        rows: of the texts answered so far.
        is_over: nothing of it is wanted any more.
    """

    lane: Lane
    places: int
    content: Sequence[Any] = ()
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    future: Future[NDArray[np.float64]] = field(default_factory=Future)
    num_taken: int = 0
    rows: list[NDArray[np.float64]] = field(default_factory=list)
    is_over: bool = False

    def __post_init__(self) -> None:
        """Let nobody else than the queue end the future."""
        self.future.set_running_or_notify_cancel()


class Part(NamedTuple):
    """Some texts of a job: `job.content[start:stop]`."""

    job: Job
    start: int
    stop: int

    @property
    def content(self) -> Sequence[Any]:
        """Return the texts as the model takes them."""
        return self.job.content[self.start : self.stop]


class WorkQueue:
    """Jobs that wait, for many threads that bring and one that takes.

    Args:
        most: lane to the texts that may wait in it.
        longest_wait: seconds; while what waits in a lane takes longer, at the pace measured, there
            is no room in it either: who waited in vain would be worse off than who comes again.
    """

    def __init__(self, most: dict[Lane, int], longest_wait: float = math.inf) -> None:
        self._most = most
        self._longest_wait = longest_wait
        self._held: dict[Lane, int] = dict.fromkeys(most, 0)
        self._pace: dict[Lane, float | None] = dict.fromkeys(most)
        self._lanes: dict[Lane, deque[Job]] = {lane: deque() for lane in most}
        self._served_last: Lane = "words"
        self._stopped: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Return the lanes."""
        return tuple(self._most)

    def check_room(self, num_texts: int, lane: Lane = "answers") -> None:
        """Check that there are as many places, and that they are reached in time.

        Raises:
            FullError: there are not, or they are not.
        """
        with self._changed:
            held, most = self._held[lane], self._most[lane]
            seconds = held * (self._pace[lane] or 0.0)
            is_late = seconds > self._longest_wait
            if is_late or held + num_texts > most:
                retry_seconds = max(1, math.ceil(seconds))
                raise FullError(held, most, retry_seconds, is_late=is_late)

    def admit(self, num_texts: int, lane: Lane = "answers") -> Job:
        """Reserve places; the job waits once `submit` has its texts.

        Raises:
            FullError: there are not as many.
        """
        with self._changed:
            self.check_room(num_texts, lane)
            self._held[lane] += num_texts
            return Job(lane, num_texts)

    def submit(self, job: Job, content: Sequence[Any], sizes: NDArray[np.int64]) -> None:
        """Let a job wait for its turn; one that is over does not, nor one behind the end."""
        with self._changed:
            job.content, job.sizes = content, sizes
            if self._stopped is not None:
                self._end(job, self._stopped)
            elif not job.is_over:
                self._lanes[job.lane].append(job)
                self._changed.notify_all()

    def leave(self, job: Job) -> None:
        """Give back what a job still holds; its texts that were not taken never will be.

        Its future, if it has no answer yet, ends with a `LeftError`.
        """
        self.fail(job, LeftError())

    def take(self, budget: int, timeout: float | None = None) -> list[Part] | None:
        """Return the next batch: what waits, as far as the budget goes, and at least one text.

        Waits while there is nothing, never for more.

        Args:
            budget: tokens.
            timeout: seconds to wait for a first text, then an empty batch.

        Returns:
            None once the queue is stopped.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped is not None or any(self._lanes.values()), timeout
            )
            if self._stopped is not None:
                return None
            waiting = [lane for lane, jobs in self._lanes.items() if jobs]
            if not waiting:
                return []
            lane = next((lane for lane in waiting if lane != self._served_last), waiting[0])
            self._served_last = lane
            return self._fill(lane, budget)

    def answer(self, part: Part, probs: NDArray[np.float64]) -> None:
        """Hand back the probabilities (n, C) of a part; the job's future ends with the last one.

        Parts of a job are taken, and answered, in their order.
        """
        with self._changed:
            job = part.job
            job.rows.append(probs)
            self._free(job, part.stop - part.start)
            if part.stop == len(job.content) and not job.is_over:
                job.future.set_result(np.concatenate(job.rows))
                self._end(job)

    def fail(self, job: Job, error: BaseException) -> None:
        """End a job without an answer, if it has none yet."""
        with self._changed:
            if job in self._lanes[job.lane]:
                self._lanes[job.lane].remove(job)
            self._end(job, error)

    def stop(self, error: BaseException) -> None:
        """Let `take` return None from now on; what waits, or comes later, ends with `error`."""
        with self._changed:
            self._stopped = error
            for job in [job for jobs in self._lanes.values() for job in jobs]:
                self.fail(job, error)
            self._changed.notify_all()

    def measure(self, lane: Lane, seconds: float, num_texts: int) -> None:
        """Note how long a lane took for some texts, while it had work."""
        with self._changed:
            newest, before = seconds / num_texts, self._pace[lane]
            self._pace[lane] = (
                newest if before is None else (1 - _NEWEST) * before + _NEWEST * newest
            )

    def held(self, lane: Lane) -> int:
        """Return the places that are taken: texts that have no answer yet."""
        with self._changed:
            return self._held[lane]

    @property
    def num_waiting(self) -> int:
        """Return the texts that could be taken at once."""
        with self._changed:
            jobs = [job for jobs in self._lanes.values() for job in jobs]
            return sum(len(job.content) - job.num_taken for job in jobs)

    def _fill(self, lane: Lane, budget: int) -> list[Part]:
        parts: list[Part] = []
        room = budget
        jobs = self._lanes[lane]
        while jobs:
            job = jobs[0]
            start = stop = job.num_taken
            while stop < len(job.content) and (
                job.sizes[stop] <= room or (not parts and stop == start)
            ):
                room -= int(job.sizes[stop])
                stop += 1
            if stop == start:
                break
            parts.append(Part(job, start, stop))
            job.num_taken = stop
            if stop < len(job.content):
                break
            jobs.popleft()
        return parts

    def _end(self, job: Job, error: BaseException | None = None) -> None:
        job.is_over = True
        self._free(job, job.places)
        if error is not None and not job.future.done():
            job.future.set_exception(error)

    def _free(self, job: Job, places: int) -> None:
        freed = min(places, job.places)
        job.places -= freed
        self._held[job.lane] -= freed


class Stretch:
    """Seconds of consecutive work, without the time in which there was none."""

    def __init__(self) -> None:
        self._end: float | None = None

    def lap(self, started: float, *, more: bool) -> float:
        """Return the seconds since the last lap's end, if there was work since, else since start.

        Args:
            started: when this piece of work began, by `time.perf_counter`.
            more: whether more work waits already.
        """
        now = time.perf_counter()
        seconds = now - (started if self._end is None else self._end)
        self._end = now if more else None
        return seconds

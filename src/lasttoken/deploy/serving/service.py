"""Texts in, answers out, for many requests at a time; knows nothing of HTTP.

    classify    admit (room?) -> tokenize -> wait for the model -> decide -> [weigh the words]

Tokenizing, weighing words and the model have one thread each; the event loop only waits. A
coroutine that is cancelled, because its client has gone or its time is up, takes its texts out of
the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.deploy.serving.batcher import Batcher
from lasttoken.deploy.serving.limits import Limits
from lasttoken.deploy.serving.model import Members, ServedModel, Words
from lasttoken.deploy.serving.queue import FullError, Job, Lane, WorkQueue
from lasttoken.deploy.serving.refusal import not_ready, overloaded
from lasttoken.events import EventCallback

# Of the time that a request may take, what waits before it may take so much by the pace measured;
# the rest is for the request itself, and for a pace that was too good.
_SHARE_OF_WAITING = 0.5

_WHAT_WAITS: dict[Lane, str] = {"answers": "texts", "words": "texts to explain"}


@dataclass(frozen=True)
class Answers:
    """What N texts got.

    Attributes:
        probs: (N, C) float64; of a regression (N, 1) numbers.
        decisions: N of them, as `Predictor.decide` gives them.
        truncated: (N,) bool.
        label_ids: (N,) int64, the most probable label; 0 for a regression. The words' label.
        words: the words of each text and their weights; None if nobody asked.
        seconds: of tokenizing, of waiting and computing, of weighing words.
    """

    probs: NDArray[np.float64]
    decisions: NDArray[Any]
    truncated: NDArray[np.bool_]
    label_ids: NDArray[np.int64]
    words: list[Words] | None
    seconds: dict[str, float]


class Service:
    """A model that answers requests.

    Args:
        model: what answers.
        limits: see `Limits`.
        on_event: hears of faults, in any thread.

    Attributes:
        model: as given.
        limits: as given.
        queue: what waits.
        batcher: the thread of the model.
        dropped: why to how many requests were given up before their answer: "departed", "timeout".
        given_up: set when requests that are still waiting will get no answer any more.
    """

    def __init__(self, model: ServedModel, limits: Limits, *, on_event: EventCallback) -> None:
        self.model = model
        self.limits = limits
        self.queue = WorkQueue(
            {"answers": limits.max_waiting, "words": limits.max_waiting_explained},
            longest_wait=limits.request_seconds * _SHARE_OF_WAITING,
        )
        self.batcher = Batcher(
            model, self.queue, budget=limits.max_tokens_per_batch, on_event=on_event
        )
        self.dropped: Counter[str] = Counter({"departed": 0, "timeout": 0})
        self._tokenizing = ThreadPoolExecutor(1, "tokenize")
        self._explaining = ThreadPoolExecutor(1, "explain")
        # A batch ends for many requests at once. They go on one by one, a turn of the loop each:
        # what comes meanwhile, a probe say, waits for the next of them and not for all.
        self._turn = asyncio.Lock()
        self._num_active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closing = False
        self.given_up = asyncio.Event()

    def start(self) -> None:
        """Start the model's thread; `unready` is None once the model has passed its check."""
        self.batcher.start()

    @property
    def unready(self) -> str | None:
        """Return why no request is taken now; None if they are."""
        if self._is_closing:
            return "the server is shutting down"
        return {
            "starting": "the model is not ready yet",
            "ready": None,
            "failing": "the model has failed and is being checked",
            "dead": "the model's thread has died",
        }[self.batcher.state]

    def check_open(self) -> None:
        """Check that a request of one text would be taken now: told before its body is read.

        Raises:
            RequestError: the server is not ready (503) or full (429).
        """
        if (reason := self.unready) is not None:
            raise not_ready(reason)
        with _telling("answers"):
            self.queue.check_room(1)

    @property
    def is_alive(self) -> bool:
        """Return whether there is a thread that could answer; without one, only a restart helps."""
        return self.batcher.state != "dead"

    @property
    def is_computing(self) -> bool:
        """Return whether the model's thread has not ended."""
        return self.batcher.is_running

    def close(self) -> None:
        """Take no more requests; those that were accepted go on."""
        self._is_closing = True

    async def finish(self, timeout: float) -> bool:
        """Wait until all accepted requests have their answers; return whether they have."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """End the threads, after the batch at hand."""
        self._tokenizing.shutdown(wait=False, cancel_futures=True)
        self._explaining.shutdown(wait=False, cancel_futures=True)
        self.batcher.stop(timeout=5.0)

    async def classify(self, texts: Sequence[Members], *, explain: bool = False) -> Answers:
        """Return what the model says of texts.

        Args:
            texts: within the limits.
            explain: weigh the words of each, for its most probable label.

        Raises:
            RequestError: the server is not ready (503) or full (429).
            ModelFaultError: the model failed on these texts; or whatever it raised.
        """
        if (reason := self.unready) is not None:
            raise not_ready(reason)
        self._num_active += 1
        self._idle.clear()
        held: list[Job] = []
        try:
            held.append(self._admit(len(texts), "answers"))
            if explain:  # told before anything is computed
                held.append(self._admit(len(texts), "words"))
            return await self._answer(texts, held)
        finally:
            for job in held:
                self.queue.leave(job)
            self._num_active -= 1
            if not self._num_active:
                self._idle.set()

    async def _answer(self, texts: Sequence[Members], held: list[Job]) -> Answers:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        if not texts:
            none = np.zeros((0, len(self.model.labels)))
            empty = np.zeros(0, dtype=np.int64)
            words: list[Words] | None = [] if len(held) > 1 else None
            return Answers(none, empty, empty.astype(np.bool_), empty, words, {})
        read = await loop.run_in_executor(self._tokenizing, self.model.read, texts)
        tokenized = time.perf_counter()
        self.queue.submit(held[0], read.content, read.sizes)
        probs = await asyncio.wrap_future(held[0].future)
        answered = time.perf_counter()
        async with self._turn:
            await asyncio.sleep(0)
        label_ids = probs.argmax(axis=1)
        seconds = {"tokenize": tokenized - started, "model": answered - tokenized}
        weighed = None
        if len(held) > 1:
            weighed = await loop.run_in_executor(
                self._explaining, self._explain, texts, label_ids, held
            )
            seconds["explain"] = time.perf_counter() - answered
        return Answers(probs, self.model.decide(probs), read.truncated, label_ids, weighed, seconds)

    def _explain(
        self, texts: Sequence[Members], label_ids: NDArray[np.int64], held: list[Job]
    ) -> list[Words]:
        """Weigh the words text by text; end early if nobody waits for them any more."""
        place = held[1]

        def ask(content: Sequence[Any], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
            job = Job("words", 0)
            held.append(job)  # is taken out together with the others
            if place.is_over:
                self.queue.leave(job)
            self.queue.submit(job, content, sizes)
            return job.future.result()

        explained: list[Words] = []
        for number in range(len(texts)):
            started = time.perf_counter()
            one = slice(number, number + 1)
            explained += self.model.explain(texts[one], label_ids[one], ask)
            self.queue.measure("words", time.perf_counter() - started, 1)
        return explained

    def _admit(self, num_texts: int, lane: Lane) -> Job:
        with _telling(lane):
            return self.queue.admit(num_texts, lane)


@contextmanager
def _telling(lane: Lane) -> Iterator[None]:
    """Turn "no room" into what a client is told."""
    try:
        yield
    except FullError as full:
        limit = f"{full.retry_seconds} s of work" if full.is_late else f"of at most {full.most:,}"
        found = f"{full.held:,} {_WHAT_WAITS[lane]} wait already, {limit}"
        raise overloaded(found, full.retry_seconds) from full

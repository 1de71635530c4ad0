"""The one thread that owns the model: takes what waits, runs it, hands the answers back.

    starting -> ready <-> failing        not ready: no request is taken
                  |          |
                  +-> dead <-+           the thread has ended; nothing is answered again

A model that raises, or answers with what is no number, has failed the requests in question alone:
of a batch that raises, every request is tried once more by itself. Then the server is not ready
until the model has passed the check that it passed at the start.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lasttoken.deploy.serving.model import Members, ReadTexts, ServedModel
from lasttoken.deploy.serving.queue import Part, Stretch, WorkQueue
from lasttoken.events import EventCallback, Note

State = Literal["starting", "ready", "failing", "dead"]

RECHECK_SECONDS = 5.0  # between two checks of a model that failed

# Tokens of each text of the check at the start, at least; together they fill a batch, so that the
# process reaches its size before the first request, and not on the way.
_CHECK_TOKENS = 512


class ModelFaultError(Exception):
    """The model raised, gave no numbers, or is gone."""


@dataclass
class Counts:
    """What the thread has done so far.

    Attributes:
        num_texts: texts computed, by lane.
        num_tokens: tokens computed.
        num_batches: forward passes asked for.
        num_faults: times that the model failed.
        busy_seconds: in the model.
    """

    num_texts: Counter[str] = field(default_factory=Counter)
    num_tokens: int = 0
    num_batches: int = 0
    num_faults: int = 0
    busy_seconds: float = 0.0


class Batcher:
    """Runs a model on what waits in a queue.

    Args:
        model: what answers.
        queue: what waits.
        budget: tokens of a batch.
        on_event: hears of faults; called in the batcher's thread.
        recheck_seconds: between two checks of a model that failed.
    """

    def __init__(
        self,
        model: ServedModel,
        queue: WorkQueue,
        *,
        budget: int,
        on_event: EventCallback,
        recheck_seconds: float = RECHECK_SECONDS,
    ) -> None:
        self.state: State = "starting"
        self.counts = Counts()
        self._model = model
        self._queue = queue
        self._budget = budget
        self._on_event = on_event
        self._recheck_seconds = recheck_seconds
        self._stretch = Stretch()
        self._at_hand: list[Part] = []
        self._known: ReadTexts | None = None  # a text of ours
        self._thread = threading.Thread(target=self._live, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread; the state is "ready" once the model has passed its check."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Return whether the thread has begun and not ended."""
        return self._thread.is_alive()

    def stop(self, timeout: float | None = None) -> None:
        """Let the thread end after the batch at hand, and wait for that."""
        self._queue.stop(ModelFaultError("the server has shut down"))
        self._thread.join(timeout)

    def _live(self) -> None:
        try:
            self._check_at_start()
            while True:
                timeout = None if self.state == "ready" else self._recheck_seconds
                parts = self._queue.take(self._budget, timeout)
                if parts is None:
                    return
                self._at_hand = parts
                if parts:
                    self._run(parts)
                self._at_hand = []
                if self.state != "ready" and self._passes():
                    self.state = "ready"
        except BaseException as error:  # whatever ends the thread ends the service
            self._tell("the model's thread has died", error)
        finally:
            self.state = "dead"
            ended = ModelFaultError("the model's thread has ended")
            for part in self._at_hand:
                self._queue.fail(part.job, ended)
            self._queue.stop(ended)

    def _run(self, parts: list[Part]) -> None:
        started = time.perf_counter()
        try:
            self._answer(parts)
        except Exception as error:  # whatever a model may raise
            self._fault("the model failed on a batch", error)
            for part in parts:
                self._run_alone(part) if len(parts) > 1 else self._queue.fail(part.job, error)
        lane = parts[0].job.lane
        num_texts = sum(part.stop - part.start for part in parts)
        self.counts.busy_seconds += time.perf_counter() - started
        seconds = self._stretch.lap(started, more=self._queue.num_waiting > 0)
        if lane == "answers":
            self._queue.measure(lane, seconds, num_texts)

    def _run_alone(self, part: Part) -> None:
        try:
            self._answer([part])
        except Exception as error:  # whatever a model may raise
            self._fault("the model failed on a request", error)
            self._queue.fail(part.job, error)

    def _answer(self, parts: list[Part]) -> None:
        content = [text for part in parts for text in part.content]
        probs = self._model.probs(content)
        self.counts.num_batches += 1
        self.counts.num_tokens += sum(
            int(part.job.sizes[part.start : part.stop].sum()) for part in parts
        )
        self.counts.num_texts[parts[0].job.lane] += len(content)
        done = 0
        for part in parts:
            own = probs[done : done + len(part.content)]
            done += len(part.content)
            if _are_numbers(own, len(part.content)):
                self._queue.answer(part, own)
            else:
                fault = ModelFaultError("the model's answer is no number")
                self._fault("the model failed on a request", fault)
                self._queue.fail(part.job, fault)

    def _check_at_start(self) -> None:
        """Check the model on one text, then on a whole batch."""
        length = min(_CHECK_TOKENS, self._model.max_length)
        texts = [self._text(number, length) for number in range(self._budget // length)]
        if self._passes() and self._passes(texts):
            self.state = "ready"

    def _passes(self, texts: Sequence[Members] = ()) -> bool:
        """Let the model answer texts of ours, and return whether it does."""
        try:
            # Read once: later on another thread has the tokenizer.
            self._known = self._known or self._model.read([self._text(0, 1)])
            content = self._model.read(texts).content if texts else self._known.content
            if not _are_numbers(self._model.probs(content), len(content)):
                raise ModelFaultError("the model's answer is no number")
        except Exception as error:  # whatever a model may raise
            self._fault("the model failed its check", error)
            return False
        return True

    def _text(self, number: int, num_words: int) -> Members:
        """Return one of many different texts; they differ at both ends, as one may be cut."""
        return (f"{number} {'word ' * num_words}{number}",) * self._model.num_members

    def _fault(self, what: str, error: BaseException) -> None:
        self.counts.num_faults += 1
        self.state = "failing"
        self._tell(what, error)

    def _tell(self, what: str, error: BaseException) -> None:
        self._on_event(Note(f"{what}: {describe(error)}", is_warning=True))


def describe(error: BaseException) -> str:
    """Return what an error is and where it was raised; its message could repeat a text."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-6:]]
    return " < ".join([type(error).__name__, *reversed(places)])


def _are_numbers(probs: NDArray[np.float64], num_texts: int) -> bool:
    return len(probs) == num_texts and bool(np.isfinite(probs).all())

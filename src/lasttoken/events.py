"""What the package tells while it works: small frozen records handed to one callback.

Nothing below `cli` prints. A stage that has something to say calls `on_event(...)` with one of
the records below; the command line turns them into progress bars and lines, a notebook may
ignore them (`ignore`) or collect them in a list (`events.append`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Metric = Literal["macro F1", "loss"]
TrialState = Literal["finished", "pruned", "stopped", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a phase has come; sent often, with `done == total` at its end.

    Attributes:
        phase: "fetch", "convert", "read", "tokenize", "baseline", "features", "probe", "cache",
            "head", "train", "validate", "checkpoint", "save", "predict", "evaluate", "explain",
            "export", "examine", "push" or "report".
        done: units finished so far.
        total: units in all, or None while unknown.
        unit: what is counted: "bytes", "rows", "files", "texts", "steps", ...
        detail: a few words shown behind the bar, such as the running loss.
        is_estimate: True if the total is estimated from the share of the input that was read.
    """

    phase: str
    done: int
    total: int | None
    unit: str
    detail: str = ""
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """One line that a person should read: a choice made for them, a count, a finding.

    Attributes:
        text: the line.
        is_warning: True if it may change what the user decides.
    """

    text: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class BadRows(Note):
    """A note on the rows of one file that were left out because they cannot be used.

    Attributes:
        file: as shown in messages.
        count: rows left out.
        rows: the first of them, 1-based data rows.
    """

    file: str = ""
    count: int = 0
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """The measured estimate of the time to the end of the run.

    Attributes:
        seconds: wall seconds from now to the finished report.
        measured_steps: optimizer steps it was measured on.
    """

    seconds: float
    measured_steps: int


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The numbers of one finished epoch, as written to `history.jsonl`.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps taken so far.
        train_loss: mean nats per example during the epoch, dropout on; of a regression, the mean
            squared error.
        train_accuracy: 0 to 1, during the epoch; None of a regression.
        validation_loss: likewise after the epoch; of a regression, it chooses the epoch to keep.
        validation_accuracy: 0 to 1; None of a regression.
        validation_macro_f1: 0 to 1; chooses the epoch to keep. Of sets, at thresholds fitted on
            the validation examples; None of a regression.
        learning_rate: of the epoch's last step.
        seconds: wall seconds of training and validation.
        is_kept: True if this epoch is the one to keep so far: its score is above the highest before
            it, or within one standard error of that.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float
    validation_accuracy: float | None
    validation_macro_f1: float | None
    learning_rate: float
    seconds: float
    is_kept: bool

    @property
    def metric(self) -> Metric:
        """Return what chooses the epoch to keep."""
        return "loss" if self.validation_macro_f1 is None else "macro F1"

    @property
    def score(self) -> float:
        """Return the metric such that more is better: a loss has its sign changed."""
        f1 = self.validation_macro_f1
        return -self.validation_loss if f1 is None else f1


@dataclass(frozen=True, slots=True)
class Resumed:
    """Training goes on from a checkpoint.

    Attributes:
        checkpoint: its name.
        step: optimizer steps taken before it.
        num_steps: of the whole run.
        history: the epochs finished before it.
    """

    checkpoint: str
    step: int
    num_steps: int
    history: tuple[EpochEnd, ...]


@dataclass(frozen=True, slots=True)
class TrialBegin:
    """A trial of `lasttoken tune` begins.

    Attributes:
        number: counted from 1.
        settings: the searched ones, by name.
    """

    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """One trial of `lasttoken tune` is over, as written to `trials.jsonl`.

    Attributes:
        number: counted from 1.
        settings: the searched ones, by name.
        state: "finished"; "pruned" (worse than most at the same epoch); "stopped" (the time was
            up); "failed" (its loss was no number, or it did not fit into memory); or "lost" (the
            process ended amid it).
        metric: what chooses among epochs and trials: validation macro F1, 0 to 1; of a
            regression, the validation loss.
        scores: the metric after each epoch, such that more is better: a loss has its sign changed.
        seconds: wall seconds.
        is_best: True if the best of these scores is above those of all trials before.
        reason: why it ended early; empty if it did not.
    """

    number: int
    settings: Mapping[str, Any]
    state: TrialState
    metric: Metric
    scores: tuple[float, ...]
    seconds: float
    is_best: bool
    reason: str = ""

    @property
    def score(self) -> float | None:
        """Return the highest of them, or None before the end of the first epoch."""
        return max(self.scores, default=None)


Event = Progress | Note | TimeLeft | EpochEnd | Resumed | TrialBegin | TrialEnd
EventCallback = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Take an event and do nothing: the default callback."""


class NoteKeeper:
    """Pass events on, and keep the warnings for the report.

    Args:
        on_event: gets every event.
    """

    def __init__(self, on_event: EventCallback) -> None:
        self._on_event = on_event
        self.warnings: list[str] = []

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Note) and event.is_warning:
            self.warnings.append(event.text)
        self._on_event(event)

"""What a person sees: bars on a terminal, plain lines elsewhere.

Notes and progress go to standard error, results to standard output, so that
`lasttoken predict RUN texts.csv > labels.csv` holds labels alone.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from lasttoken.cli.output import drop_standard_output, printing, spelled_out
from lasttoken.cli.results import duration, settings_text, trial_text
from lasttoken.errors import RunError
from lasttoken.events import (
    EpochEnd,
    Event,
    Note,
    Progress,
    Resumed,
    TimeLeft,
    TrialBegin,
    TrialEnd,
)

_SECONDS_PER_LINE = 10.0  # between two plain progress lines of a phase
_SECONDS_WORTH_A_LINE = 2.0  # the end of a shorter phase is not told


class Screen:
    """An event callback that shows; use it as a context manager.

    Args:
        is_silent: show nothing: another process does.

    Attributes:
        fault: why results could not be printed; None while they could.
    """

    def __init__(self, *, is_silent: bool = False) -> None:
        self.fault: RunError | None = None
        self._is_silent = is_silent
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars = Bars(
            TextColumn("{task.description:>9}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[line]}"),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._pace = _Pace()

    def __enter__(self) -> Screen:
        """Start the bars, if this is a terminal."""
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bars."""
        if self._console.is_terminal:  # else never started, and stopping prints an empty line
            self._bars.stop()

    def start(self) -> None:
        """Say that loading has begun: importing torch takes seconds."""
        self.say("loading torch and transformers ...")

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._is_silent:
            return
        match event:
            case Progress():
                self._show_progress(event)
            case Note():
                line = spelled_out(event.text.replace("\n", "\\n"))
                self.say(("warning: " if event.is_warning else "") + line)
            case TimeLeft():
                self.say(
                    f"about {duration(event.seconds)} left, measured on "
                    f"{event.measured_steps} steps"
                )
            case Resumed():
                self.say(
                    f"going on from checkpoint {event.checkpoint}: {event.step:,} of "
                    f"{event.num_steps:,} steps and {len(event.history)} epochs are done"
                )
            case EpochEnd():
                self.show(epoch_text(event))
            case TrialBegin():
                self.say(f"trial {event.number} begins: {settings_text(event.settings)}")
            case TrialEnd():
                self.show(trial_text(event))

    def _show_progress(self, event: Progress) -> None:
        is_due = self._pace.is_due(event)
        line = self._pace.line(event)
        if self._console.is_terminal:
            if event.phase not in self._tasks:
                self._tasks[event.phase] = self._bars.add_task(event.phase, line="")
            task = self._tasks[event.phase]
            self._bars.update(task, total=event.total, completed=event.done, line=escape(line))
            if event.done == event.total:
                self._bars.remove_task(self._tasks.pop(event.phase))
                if is_due:
                    self.say(f"{event.phase}: {line}")
        elif is_due:
            self.say(f"{event.phase}: {line}")

    def say(self, line: str) -> None:
        """Tell a line on standard error."""
        if not self._is_silent:
            self._console.print(line, markup=False)

    def show(self, text: str) -> None:
        """Print a result to standard output; on a terminal above the bars."""
        if self._is_silent:
            return
        text = spelled_out(text)
        if self._console.is_terminal and sys.stdout.isatty():
            self._console.print(text, markup=False)
        else:
            try:
                with printing():
                    print(text)
            except BrokenPipeError:  # whoever read it is gone; the work goes on
                drop_standard_output()
            except RunError as fault:  # hours of training must not be lost for a line: later
                self.fault = fault


class _Pace:
    """Rate and time left of each phase, from when it was first heard of."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, int]] = {}
        self._told: dict[str, float] = {}

    def line(self, event: Progress) -> str:
        now = time.perf_counter()
        started, first = self._started.setdefault(event.phase, (now, event.done))
        elapsed, done = now - started, event.done - first
        rate = done / elapsed if elapsed > 0 else 0.0
        parts = [_amount(event)]
        if rate > 0 and elapsed > 1:
            parts.append(f"{_rate(rate, event.unit)}")
        if event.total is not None and event.done >= event.total:
            parts.append(f"took {duration(elapsed)}")
            self._started.pop(event.phase)
            self._told.pop(event.phase, None)
        elif event.total is not None and rate > 0 and elapsed > 1:
            parts.append(f"{duration((event.total - event.done) / rate)} left")
        if event.detail:
            parts.append(event.detail)
        return ", ".join(parts)

    def is_due(self, event: Progress) -> bool:
        """Return whether a plain line is due: now and then, and at a long phase's end."""
        now = time.perf_counter()
        if event.total is not None and event.done >= event.total:
            started, _ = self._started.get(event.phase, (now, 0))
            return now - started >= _SECONDS_WORTH_A_LINE
        if now - self._told.setdefault(event.phase, now) < _SECONDS_PER_LINE:
            return False
        self._told[event.phase] = now
        return True


def _amount(event: Progress) -> str:
    if event.unit == "bytes":
        total = "" if event.total is None else f" of {decimal(event.total)}"
        return decimal(event.done) + total
    about = "about " if event.is_estimate else ""
    total = "" if event.total is None else f"/{about}{event.total:,}"
    return f"{event.done:,}{total} {event.unit}"


def _rate(rate: float, unit: str) -> str:
    if unit == "bytes":
        return f"{decimal(int(rate))}/s"
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2f} {unit}/s"


def epoch_text(event: EpochEnd) -> str:
    """Return an epoch's line; a regression has losses alone."""
    train, validation, f1 = (
        "" if value is None else f", {name} {value:.3f}"
        for name, value in (
            ("accuracy", event.train_accuracy),
            ("accuracy", event.validation_accuracy),
            ("macro F1", event.validation_macro_f1),
        )
    )
    return (
        f"epoch {event.epoch}: train loss {event.train_loss:.3f}{train}; validation loss "
        f"{event.validation_loss:.3f}{validation}{f1}{' (kept so far)' if event.is_kept else ''}; "
        f"{duration(event.seconds)}"
    )

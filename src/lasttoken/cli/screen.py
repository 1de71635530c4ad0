"""What a person sees: bars on a terminal, plain lines elsewhere.

Notes and progress go to standard error, results to standard output, so that
`lasttoken predict RUN texts.csv > labels.csv` holds labels alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from lasttoken.cli.output import drop_standard_output, printing
from lasttoken.errors import RunError
from lasttoken.events import EpochEnd, Event, Note, Progress, Resumed, TimeLeft

_SECONDS_PER_LINE = 10.0  # between two plain progress lines of a phase
_SECONDS_WORTH_A_LINE = 2.0  # the end of a shorter phase is not told
_BASELINE_NAMES = {
    "majority": "majority label",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
}


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
        self._say("loading torch and transformers ...")

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._is_silent:
            return
        match event:
            case Progress():
                self._show_progress(event)
            case Note():
                self._say(("warning: " if event.is_warning else "") + event.text)
            case TimeLeft():
                self._say(
                    f"about {_duration(event.seconds)} left, measured on "
                    f"{event.measured_steps} steps"
                )
            case Resumed():
                self._say(
                    f"going on from checkpoint {event.checkpoint}: {event.step:,} of "
                    f"{event.num_steps:,} steps and {len(event.history)} epochs are done"
                )
            case EpochEnd():
                self._result(
                    f"epoch {event.epoch}: train loss {event.train_loss:.3f}, accuracy "
                    f"{event.train_accuracy:.3f}; validation loss {event.validation_loss:.3f}, "
                    f"accuracy {event.validation_accuracy:.3f}, macro F1 "
                    f"{event.validation_macro_f1:.3f}"
                    f"{' (best so far)' if event.is_best else ''}; {_duration(event.seconds)}"
                )

    def show_training(
        self, folder: Path, metrics: Mapping[str, Any], seconds: float, was_finished: bool
    ) -> None:
        """Show what a run reached and where everything is."""
        if was_finished:
            self._result(f"{folder} holds this very run, finished; nothing was changed")
        self._show_metrics(metrics)
        self._result(
            f"took {_duration(seconds)}\n"
            f"report    {folder / 'report.html'}\n"
            f"metrics   {folder / 'metrics.json'}\n"
            f"model     {folder / 'model'}\n"
            f"predict   lasttoken predict {folder} FILE"
        )

    def show_rerun(
        self,
        run: Path,
        before: Mapping[str, str],
        now: Mapping[str, str],
        reasons: Sequence[str],
    ) -> None:
        """Show whether a repeated run gave the same weights, and why it may not have."""
        for name in sorted({*before, *now}):
            was, is_now = before.get(name, "not there"), now.get(name, "not there")
            if was == is_now:
                self._result(f"identical to {run / 'model' / name}: sha256 {was}")
            else:
                self._result(
                    f"different from {run / 'model' / name}: sha256 {was}, now sha256 {is_now}"
                )
        if before != now:
            why = "; ".join(reasons) or "nothing that is recorded: versions and machine are equal"
            self._say(f"warning: other weights than those of {run}; what differs: {why}")

    def show_evaluation(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Show the scores on other data."""
        self._show_metrics(metrics)
        self._result(f"report    {folder / 'report.html'}\nmetrics   {folder / 'metrics.json'}")

    def show_prediction(
        self, num_texts: int, num_truncated: int, num_abstained: int | None, output: str | None
    ) -> None:
        """Tell how many texts were classified, on standard error."""
        cut = f", {num_truncated:,} of them cut at the model's limit" if num_truncated else ""
        where = f" into {output}" if output else ""
        self._say(f"{num_texts:,} texts classified{cut}{where}")
        if num_abstained is not None and num_texts:
            coverage = (num_texts - num_abstained) / num_texts
            self._say(f"{num_abstained:,} are left to a person: {coverage:.1%} are answered")

    def show_comparison(self, folder: Path, content: Mapping[str, Any]) -> None:
        """Show the runs' scores and which is better."""
        count = content["num_examples"]
        self._result(f"{'on ' + format(count, ',') + ' test examples':30}"
                     f"{'accuracy':>10}{'macro F1':>10}{'log loss':>10}")  # fmt: skip
        for name, run in content["runs"].items():
            scores = run["scores"]
            self._result(
                f"  {name:28}{scores['accuracy']:10.3f}{scores['macro_f1']:10.3f}"
                f"{scores['log_loss']:10.3f}"
            )
        self._result(f"{content['verdict']}\nreport    {folder / 'report.html'}")

    def show_check(self, record: Mapping[str, Any], *, as_json: bool) -> None:
        """Show what a check found: a line a finding, its rows and its remedy; or JSON."""
        if as_json:
            self._result(json.dumps(record, indent=1, ensure_ascii=False))
            return
        for finding in record["findings"]:
            self._result(f"{finding['severity']}: {finding['found']}")
            if finding["places"]:
                self._result(f"    rows: {_shown_places(finding['places'], finding['count'])}")
            if finding["severity"] != "note":
                self._result(f"    do: {finding['remedy']}")
        counts = Counter(finding["severity"] for finding in record["findings"])
        splits = ", ".join(f"{name} {count:,}" for name, count in record["num_examples"].items())
        told = ", ".join(f"{counts[name]} {name}s" for name in ("error", "warning", "note"))
        self._result(f"{record['data']}: examples: {splits or 'none'}; {told}")

    def _show_metrics(self, metrics: Mapping[str, Any]) -> None:
        test = metrics["test"]
        rows = [("this model", test)]
        for name, baseline in metrics["baselines"].items():
            if "accuracy" in baseline:
                rows.append((_BASELINE_NAMES.get(name, name), baseline))
        self._result(f"{'test on ' + format(test['num_examples'], ',') + ' examples':30}"
                     f"{'accuracy':>10}{'macro F1':>10}{'log loss':>10}")  # fmt: skip
        for name, scores in rows:
            self._result(
                f"  {name:28}{scores['accuracy']:10.3f}{scores['macro_f1']:10.3f}"
                f"{scores['log_loss']:10.3f}"
            )
        self._result(str(metrics["verdict"]))

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
                    self._say(f"{event.phase}: {line}")
        elif is_due:
            self._say(f"{event.phase}: {line}")

    def _say(self, line: str) -> None:
        if not self._is_silent:
            self._console.print(line, markup=False)

    def _result(self, line: str) -> None:
        """Print to standard output; on a terminal above the bars."""
        if self._is_silent:
            return
        if self._console.is_terminal and sys.stdout.isatty():
            self._console.print(line, markup=False)
        else:
            try:
                with printing():
                    print(line)
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
            parts.append(f"took {_duration(elapsed)}")
            self._started.pop(event.phase)
            self._told.pop(event.phase, None)
        elif event.total is not None and rate > 0 and elapsed > 1:
            parts.append(f"{_duration((event.total - event.done) / rate)} left")
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


def _shown_places(places: Sequence[Mapping[str, Any]], count: int) -> str:
    """Return "3, 17 of a.csv; 4 of b.csv and 90 more", rows of one file together."""
    rows: dict[str, list[str]] = {}
    for place in places:
        rows.setdefault(place["file"] or place["split"], []).append(f"{place['row']:,}")
    shown = "; ".join(f"{', '.join(numbers)} of {file}" for file, numbers in rows.items())
    return shown + (f"; {count - len(places):,} more" if count > len(places) else "")


def _amount(event: Progress) -> str:
    if event.unit == "bytes":
        total = "" if event.total is None else f" of {decimal(event.total)}"
        return decimal(event.done) + total
    total = "" if event.total is None else f"/{event.total:,}"
    return f"{event.done:,}{total} {event.unit}"


def _rate(rate: float, unit: str) -> str:
    if unit == "bytes":
        return f"{decimal(int(rate))}/s"
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2f} {unit}/s"


def _duration(seconds: float) -> str:
    """Return "4.2 s", "3 min 05 s" or "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"

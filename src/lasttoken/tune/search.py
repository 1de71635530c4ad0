"""One trial after the other until the time is up: propose, look whether it fits, try, judge.

What comes next is a function of the seed and of the trials before, so that a search that was
killed goes on as if it had not been; only how many trials fit into the time depends on the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import Trial
from optuna.trial import TrialState as State
from torch import OutOfMemoryError

from lasttoken.errors import ConfigError
from lasttoken.events import (
    EpochEnd,
    Event,
    EventCallback,
    Note,
    Progress,
    TrialBegin,
    TrialEnd,
    TrialState,
)
from lasttoken.tune.journal import open_study
from lasttoken.tune.space import Settings, Space

Attempt = Callable[[Settings, EventCallback], None]

# Trials whose settings are drawn evenly, before the sampler learns from those that were tried.
_NUM_EVEN = 6
# Trials that must have ended before one is measured by them, at the epochs that so many reached.
_NUM_BEFORE_PRUNING, _NUM_AT_EPOCH = 4, 3
# Proposals in a row that are known or too long: after so many the next are drawn evenly, which
# leaves the place that the sampler has settled on; after so many the search gives up.
_SKIPPED_BEFORE_EVEN, _MOST_SKIPPED = 5, 50
# A trial that ended the process so often is not begun again.
_MOST_LOST = 2

# The attribute that says that a trial has begun, and how long it has taken so far.
_SECONDS = "seconds"

_OF_STATE: Mapping[str, State] = {
    "finished": State.COMPLETE,
    "pruned": State.PRUNED,
    "stopped": State.PRUNED,
    "failed": State.FAIL,
}


class _EarlyEnd(Exception):  # noqa: N818 - it is no error
    """Ends a trial from inside its callback.

    Args:
        state: what becomes of it.
        reason: why.
    """

    def __init__(self, state: TrialState, reason: str) -> None:
        super().__init__(reason)
        self.state: TrialState = state
        self.reason = reason


class _Judge:
    """Hears a trial's events, and ends it where going on is of no use.

    Args:
        trial: optuna's.
        num_epochs: that it will have if nothing ends it.
        seconds_left: to the end of the search.
        told: warnings that were passed on already, by any trial.
        on_event: gets progress, and each warning once.

    Attributes:
        scores: after each epoch so far.
    """

    def __init__(
        self,
        trial: Trial,
        num_epochs: int,
        seconds_left: Callable[[], float],
        told: set[str],
        on_event: EventCallback,
    ) -> None:
        self.scores: list[float] = []
        self._trial = trial
        self._num_epochs = num_epochs
        self._seconds_left = seconds_left
        self._told = told
        self._on_event = on_event
        self._started = time.perf_counter()

    def note_seconds(self) -> None:
        """Write down how long the trial has taken; a death later costs no more than an epoch."""
        self._trial.set_user_attr(_SECONDS, round(time.perf_counter() - self._started, 3))

    def __call__(self, event: Event) -> None:
        """Take an event.

        Raises:
            _EarlyEnd: the trial is worse than most, or the time is up.
        """
        if isinstance(event, EpochEnd):
            self.scores.append(event.score)
            self._trial.set_user_attr("metric", event.metric)
            self._trial.report(self.scores[-1], len(self.scores))
            self.note_seconds()
        if len(self.scores) < self._num_epochs:
            if self._seconds_left() < 0:
                raise _EarlyEnd("stopped", "the time was up")
            if isinstance(event, EpochEnd) and self._trial.should_prune():
                text = f"worse than most trials after epoch {len(self.scores)}"
                raise _EarlyEnd("pruned", text)
        if isinstance(event, Progress):
            self._on_event(event)
        if isinstance(event, Note) and event.is_warning and event.text not in self._told:
            self._told.add(event.text)
            self._on_event(event)


class Search:
    """A search that may have begun earlier.

    Args:
        journal: the file that it is kept in; the folder must be locked.
        space: what may be tried.
        seed: of the proposals.
        seconds: of all trials together.
        on_event: hears what trials warn of, their progress, and `TrialEnd`.

    Raises:
        RunError: the journal cannot be read or written, or holds another search.
    """

    def __init__(
        self, journal: Path, space: Space, *, seed: int, seconds: float, on_event: EventCallback
    ) -> None:
        pruner = MedianPruner(_NUM_BEFORE_PRUNING, n_min_trials=_NUM_AT_EPOCH)
        words = "; ".join(f"{name}: {values!r}" for name, values in space.ranges.items())
        self._study = open_study(journal, words, pruner)
        self._space = space
        self._seed = seed
        self._told: set[str] = set()
        self._on_event = on_event
        self._settle_lost()
        spent = sum(trial.seconds for trial in self.trials())
        self._deadline = time.perf_counter() + seconds - spent

    def trials(self) -> list[TrialEnd]:
        """Return the trials that are over, in their order."""
        ends: list[TrialEnd] = []
        best = float("-inf")
        for trial in self._study.get_trials(deepcopy=False):
            if _SECONDS not in trial.user_attrs or not trial.state.is_finished():
                continue
            attrs = trial.user_attrs
            scores = tuple(value for _, value in sorted(trial.intermediate_values.items()))
            score = max(scores, default=best)
            end = TrialEnd(
                number=len(ends) + 1,
                settings=attrs["settings"],
                state=attrs.get("state", "lost"),
                metric=attrs.get("metric", "macro F1"),
                scores=scores,
                seconds=attrs[_SECONDS],
                is_best=score > best,
                reason=attrs.get("reason", "the process ended amid it"),
            )
            ends.append(end)
            best = max(best, score)
        return ends

    def run(self, attempt: Attempt, after_trial: Callable[[], None]) -> None:
        """Make trials until the time is up, or nothing new fits into it.

        Args:
            attempt: trains with some settings and tells its epochs to a callback, from which it
                lets exceptions pass.
            after_trial: called when a trial's end is in the journal.
        """
        first = [one for one in self._space.first() if not self._is_known(one)]
        num_skipped = 0
        while num_skipped < _MOST_SKIPPED and self._seconds_left() > 0:
            if first and not self._study.get_trials(deepcopy=False, states=(State.WAITING,)):
                self._study.enqueue_trial(first.pop(0))
            trial = self._propose(num_skipped)
            settings = self._space.effective(trial.params)
            if self._is_known(settings) or self._is_too_long(settings):
                self._study.tell(trial, state=State.FAIL)
                num_skipped += 1
                continue
            num_skipped = 0
            self._carry_out(trial, settings, attempt)
            self._on_event(self.trials()[-1])
            after_trial()
        if num_skipped:
            text = (
                f"the last {num_skipped} proposals were known already or too long for the time left"
            )
            self._on_event(Note(text))

    def _propose(self, num_skipped: int) -> Trial:
        judged = self._study.get_trials(deepcopy=False, states=(State.COMPLETE, State.PRUNED))
        seeds = np.random.SeedSequence((self._seed, len(judged), num_skipped))
        seed = int(seeds.generate_state(1)[0])
        if num_skipped < _SKIPPED_BEFORE_EVEN:
            self._study.sampler = TPESampler(
                seed=seed, n_startup_trials=_NUM_EVEN, multivariate=True, constant_liar=False
            )
        else:
            self._study.sampler = RandomSampler(seed=seed)
        return self._study.ask(dict(self._space.ranges))

    def _carry_out(self, trial: Trial, settings: dict[str, Any], attempt: Attempt) -> None:
        number = len(self.trials()) + 1
        self._on_event(TrialBegin(number, settings))
        trial.set_user_attr("settings", settings)
        trial.set_user_attr(_SECONDS, 0.0)
        num_epochs = self._space.num_epochs(settings)
        judge = _Judge(trial, num_epochs, self._seconds_left, self._told, self._on_event)
        state: TrialState = "finished"
        reason = ""
        try:
            attempt(settings, judge)
        except _EarlyEnd as end:
            state, reason = end.state, end.reason
        except (ConfigError, OutOfMemoryError) as error:
            state, reason = "failed", str(error).partition("\n")[0]
        trial.set_user_attr("reason", reason)
        judge.note_seconds()
        trial.set_user_attr("state", state)
        self._tell(trial.number, state, judge.scores)

    def _tell(self, number: int, state: str, scores: list[float]) -> None:
        known = _OF_STATE[state] if scores else State.FAIL
        values = max(scores) if known is State.COMPLETE else None
        self._study.tell(number, values, state=known)

    def _settle_lost(self) -> None:
        """Close the trials amid which a process ended."""
        for trial in self._study.get_trials(deepcopy=False, states=(State.RUNNING,)):
            scores = [value for _, value in sorted(trial.intermediate_values.items())]
            if "state" in trial.user_attrs:  # it was over, and all but told
                self._tell(trial.number, trial.user_attrs["state"], scores)
                continue
            self._study.tell(trial.number, state=State.FAIL)
            if _SECONDS in trial.user_attrs:
                lost = self.trials()[-1]
                again = "left out from now on" if self._is_known(lost.settings) else "tried again"
                text = f"trial {lost.number} was lost, the process ended amid it; it is {again}"
                self._on_event(Note(text, is_warning=True))

    def _is_known(self, settings: Settings) -> bool:
        same = [trial.state for trial in self.trials() if trial.settings == settings]
        is_over = any(state not in ("lost", "stopped") for state in same)
        return is_over or same.count("lost") >= _MOST_LOST

    def _is_too_long(self, settings: Settings) -> bool:
        """Return whether a trial would not end in time, by the slowest one of its kind so far."""
        rates = []
        for trial in self.trials():
            if trial.scores:
                done = {**trial.settings, "num_epochs": len(trial.scores)}
                rate = trial.seconds / self._space.work(done)
                rates.append((self._space.kind(trial.settings), rate))
        alike = [rate for kind, rate in rates if kind == self._space.kind(settings)]
        slowest = max(alike or [rate for _, rate in rates], default=0.0)
        return slowest * self._space.work(settings) > self._seconds_left()

    def _seconds_left(self) -> float:
        return self._deadline - time.perf_counter()

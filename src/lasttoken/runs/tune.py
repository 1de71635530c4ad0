"""`lasttoken tune`: trials on the training and validation examples; the best settings as a file.

    DIR/  run.json  journal.log  trials.jsonl  best.toml

The test examples are set aside by the code of `train`, so that `lasttoken train` afterwards, with
the settings found, sets the same ones aside; no model reads them here.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import platform
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lasttoken.config import TrainConfig, TuneConfig
from lasttoken.data.splits import fingerprint
from lasttoken.durable import replace_file
from lasttoken.errors import ConfigError, RunError, StoppedError, TerminatedError
from lasttoken.events import EventCallback, Note, TrialEnd
from lasttoken.launch import world_size
from lasttoken.runs.examples import RunExamples, read_examples, tell_counts, tell_findings
from lasttoken.runs.facts import weights_sha256
from lasttoken.runs.lock import run_lock
from lasttoken.runs.plan import make_classifier
from lasttoken.runs.record import (
    open_run_folder,
    read_record,
    run_status,
    search_folder,
    search_settings,
    settings_of,
    write_record,
)
from lasttoken.runs.resume import check_same_data, check_unchanged
from lasttoken.settings import config_file_text
from lasttoken.training.defaults import SETTLED
from lasttoken.training.preparation import PreparedTraining
from lasttoken.tune.search import Search
from lasttoken.tune.space import Extents, Settings, make_space
from lasttoken.versions import Stopwatch, machine, package_versions

_JOURNAL, _TRIALS, BEST = "journal.log", "trials.jsonl", "best.toml"


@dataclass(frozen=True)
class TuneOutcome:
    """What a search leaves.

    Attributes:
        folder: of the search.
        trials: that are over, in their order.
        best: the first of the trials with the best score.
        num_validation: examples by which they were judged.
        command: that trains with the best settings.
        was_finished: True if it was there already and nothing was written.
    """

    folder: Path
    trials: Sequence[TrialEnd]
    best: TrialEnd
    num_validation: int
    command: str
    was_finished: bool


def run_tuning(
    config: TuneConfig, *, command: Sequence[str], on_event: EventCallback
) -> TuneOutcome:
    """Search until the time is up; go on with a search that was begun earlier.

    Args:
        config: the settings.
        command: the words that started it, for the record.
        on_event: hears all there is to tell.

    Raises:
        StoppedError: a signal asked to stop; all trials that were over are kept.
        LastTokenError: data, model, a setting or the output folder is not as described, or no
            trial came to the end of an epoch.
    """
    if world_size() > 1:
        raise ConfigError(
            f"tune in {world_size()} processes",
            expected="one process: the trials come one after the other",
            remedy="the same command without torchrun or accelerate launch",
        )
    watch = Stopwatch()
    folder, settings = search_folder(config), search_settings(config)
    base = TrainConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(TrainConfig)})
    data = read_examples(base, on_event)
    if run_status(folder, settings, overwrite=config.overwrite) == "finished":
        record = read_record(folder) or {}
        check_same_data(folder, record, data.splits, config.data)
        if record["minutes"] >= config.minutes and (folder / _TRIALS).is_file():
            return _outcome(folder, config, data, _read_trials(folder), was_finished=True)
    _tell_examples(data, on_event)
    splits = data.splits
    prepared = make_classifier(base).prepare(
        splits.train, splits.validation, task=data.task, on_event=on_event
    )
    settled = {name: getattr(prepared.settings, name) for name in SETTLED}
    is_whole = settled["depth"] == prepared.num_blocks
    settled["depth"] = "all" if is_whole else str(settled["depth"])
    space = make_space({**dataclasses.asdict(base), **settled}, _extents(prepared), config.search)
    record = _new_record(settings, command, data, prepared)
    del prepared  # each trial has a model of its own
    with run_lock(folder):
        if run_status(folder, settings, overwrite=config.overwrite) == "new":
            open_run_folder(folder, record)
        else:
            check_unchanged(folder, read_record(folder) or {}, record, on_event)
            write_record(folder, {**record, "status": "unfinished"})
        watch.lap("prepare")
        seconds = config.minutes * 60 - watch.total
        try:
            search = Search(
                folder / _JOURNAL, space, seed=config.seed, seconds=seconds, on_event=on_event
            )
            _try_settings(search, base, folder, data, on_event)
            trials = search.trials()
            _check_any(trials, config)
            write_record(folder, {**record, "status": "finished", "minutes": config.minutes})
        except KeyboardInterrupt as error:
            raise StoppedError(signal.SIGINT) from error
        except TerminatedError as error:
            raise StoppedError(signal.SIGTERM) from error
    return _outcome(folder, config, data, trials, was_finished=False)


def _try_settings(
    search: Search, base: TrainConfig, folder: Path, data: RunExamples, on_event: EventCallback
) -> None:
    """Make trials, and keep what they gave in files after each."""

    def attempt(settings: Settings, judge: EventCallback) -> None:
        classifier = make_classifier(dataclasses.replace(base, **settings))
        prepared = classifier.prepare(
            data.splits.train, data.splits.validation, task=data.task, on_event=judge
        )
        classifier.train(prepared, on_event=judge)

    def keep() -> None:
        trials = search.trials()
        rows = [{**dataclasses.asdict(trial), "score": trial.score} for trial in trials]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        replace_file(folder / _TRIALS, "".join(lines).encode())
        best = _best(trials)
        if best is not None:
            text = _best_text(best, base)
            replace_file(folder / BEST, text.encode("utf-8", "surrogatepass"))
        gc.collect()  # of models, which hold themselves: the next one needs their room

    keep()
    search.run(attempt, keep)


def _best(trials: Sequence[TrialEnd]) -> TrialEnd | None:
    """Return the first of the trials with the best score.

    Trials that were ended early count too: training with their settings begins with the same
    epochs and keeps the best one.
    """
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: trial.score or 0.0, default=None)


def _best_text(best: TrialEnd, base: TrainConfig) -> str:
    """Return `best.toml`: what was searched, and whatever else is not the default."""
    defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
    settings = settings_of(dataclasses.replace(base, **best.settings))
    told = {
        name: value
        for name, value in settings.items()
        if name != "data" and (name in best.settings or value != defaults[name])
    }
    score = max(best.scores) if best.metric == "macro F1" else -max(best.scores)
    comment = f"# trial {best.number}: {best.metric} {score:.4f} on the validation examples\n"
    return comment + config_file_text(told)


def _outcome(
    folder: Path,
    config: TuneConfig,
    data: RunExamples,
    trials: Sequence[TrialEnd],
    *,
    was_finished: bool,
) -> TuneOutcome:
    best = _best(trials)
    assert best is not None, "checked by _check_any"
    words = ["lasttoken", "train", config.data, "--config", str(folder / BEST)]
    command = shlex.join(words)
    num_validation = len(data.splits.validation)
    return TuneOutcome(folder, trials, best, num_validation, command, was_finished)


def _read_trials(folder: Path) -> list[TrialEnd]:
    names = [field.name for field in dataclasses.fields(TrialEnd)]
    with (folder / _TRIALS).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        TrialEnd(**{name: row[name] for name in names} | {"scores": tuple(row["scores"])})
        for row in rows
    ]


def _check_any(trials: Sequence[TrialEnd], config: TuneConfig) -> None:
    """Check that there is something to choose from.

    Raises:
        RunError: no trial came to the end of an epoch.
    """
    if _best(trials) is not None:
        return
    reasons = dict.fromkeys(trial.reason for trial in trials)
    raise RunError(
        f"no trial came to the end of an epoch in {config.minutes:g} minutes"
        + "".join(f"; {reason}" for reason in reasons),
        expected="time for the settings given at least",
        remedy=f"--minutes {2 * config.minutes:g}, or fewer examples: --limit",
    )


def _tell_examples(data: RunExamples, on_event: EventCallback) -> None:
    splits = {"train": data.splits.train, "validation": data.splits.validation}
    tell_counts(splits, data.task, on_event)
    tell_findings(splits, data.task, on_event)
    text = f"test: {len(data.splits.test):,} examples are set aside; no trial reads them"
    on_event(Note(text))


def _extents(prepared: PreparedTraining) -> Extents:
    return Extents(
        num_blocks=prepared.num_blocks,
        num_examples=len(prepared.training),
        num_tokens=int(prepared.training.texts.lengths.sum()),
        num_validation_tokens=int(prepared.validating.texts.lengths.sum()),
        kind=prepared.loaded.classifier.labels.kind,
    )


def _new_record(
    settings: Settings, command: Sequence[str], data: RunExamples, prepared: PreparedTraining
) -> dict[str, Any]:
    """Return what `run.json` of a search holds, but for its status."""
    classifier = prepared.loaded.classifier
    return {
        "schema_version": 1,
        "command": list(command),
        "settings": dict(settings),
        "resolved": {
            "labels": list(classifier.labels.labels),
            "model_sha256": weights_sha256(classifier.hf_model.base_model),
            "max_length": prepared.reading.max_length,
            "precision": prepared.settings.precision,
            "device": str(prepared.settings.device),
            "num_blocks": prepared.num_blocks,
        },
        "data": {
            name: {"examples": len(examples), "fingerprint": fingerprint(examples)}
            for name, examples in (
                ("train", data.splits.train),
                ("validation", data.splits.validation),
                ("test", data.splits.test),
            )
        },
        "versions": package_versions(),
        "machine": {**machine(), "processes": 1},
        "process": {"pid": os.getpid(), "host": platform.node()},
    }

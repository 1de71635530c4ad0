"""`lasttoken train`: labeled text in; a measured, saved and reported classifier out."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lasttoken.config import TrainConfig
from lasttoken.errors import StoppedError, TerminatedError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.report.card import write_model_card
from lasttoken.events import EventCallback, NoteKeeper, Progress
from lasttoken.launch import process_rank
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.examples import (
    RunExamples,
    read_examples,
    tell_examples,
)
from lasttoken.runs.facts import new_record, record_facts, run_results
from lasttoken.runs.history import HistoryWriter
from lasttoken.runs.label_check import check_labels
from lasttoken.runs.lock import run_lock
from lasttoken.runs.plan import checkpoint_settings, make_classifier, tell_plan
from lasttoken.runs.predictions import TEST, VALIDATION
from lasttoken.runs.record import (
    CHECKPOINTS_NAME,
    TRACKER_NAME,
    open_run_folder,
    read_record,
    reopen_run_folder,
    run_folder,
    run_status,
    settings_of,
    short_name,
)
from lasttoken.runs.results import (
    ReportSettings,
    check_reportable,
    measure,
    report_settings,
    run_baselines,
    score,
    write_results,
)
from lasttoken.runs.resume import (
    check_same_data,
    check_unchanged,
    clear_finished,
    finish_run_folder,
)
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.saver import check_room_for_checkpoints
from lasttoken.training.tracking import Tracking, Untracked, check_tracker, tracked
from lasttoken.versions import Stopwatch


@dataclass(frozen=True)
class TrainOutcome:
    """What a training command leaves.

    Attributes:
        folder: the run folder.
        metrics: the content of `metrics.json`.
        seconds: wall seconds of the run.
        was_finished: True if the run was there already and nothing was written.
    """

    folder: Path
    metrics: Mapping[str, Any]
    seconds: float
    was_finished: bool


def run_training(
    config: TrainConfig, *, command: Sequence[str], on_event: EventCallback
) -> TrainOutcome | None:
    """Train, evaluate beside baselines, save, report.

    Nothing is written before everything that can be refused has been looked at;
    `preflight.locate_inputs` tells the commonest mistakes sooner, before this module is imported.

    Args:
        config: the settings.
        command: the words that started the run, for the record.
        on_event: hears all there is to tell.

    Returns:
        What the run left; None in all but the main one of several processes, which help training
        along and leave nothing.

    Raises:
        StoppedError: a signal asked to stop, and all is saved.
        LastTokenError: data, model, a setting or the output folder is not as described.
    """
    watch = Stopwatch()
    folder = run_folder(config)
    settings = settings_of(config)
    if run_status(folder, settings, overwrite=config.overwrite) == "finished":
        return _finished_before(folder, config)
    check_tracker(config.tracker)
    told = NoteKeeper(on_event)

    data = read_examples(config, told)
    tell_examples(data, told)
    report = report_settings(config, config.seed, data.splits.test)
    classifier = make_classifier(config)
    prepared = classifier.prepare(
        data.splits.train, data.splits.validation, task=data.task, on_event=told
    )
    check_reportable(config, prepared.loaded)
    if process_rank() > 0:
        classifier.train(prepared, checkpoints=checkpoint_settings(config), on_event=told)
        return None
    test_texts = prepared.tokenize(data.splits.test, on_event=told)
    tell_plan(prepared, test_texts, told)
    record = new_record(settings, command, data, prepared, test_texts)
    watch.lap("prepare")

    with run_lock(folder):
        status = run_status(folder, settings, overwrite=config.overwrite)
        if status == "finished":  # by another process, meanwhile
            return _finished_before(folder, config)
        if status == "unfinished":
            record = _go_on(folder, record, told)
        else:
            open_run_folder(folder, record)
        try:
            if checkpoint_settings(config) is not None:
                check_room_for_checkpoints(prepared, folder)
            run = _Run(config, report, folder, record, data, prepared, test_texts, watch)
            with tracked(
                config.tracker,
                HistoryWriter(told, folder, record),
                folder=folder / TRACKER_NAME,
                run_name=folder.name,
                settings=settings,
                device=prepared.settings.device,
            ) as tracker:
                return _carry_out(run, classifier, tracker, told)
        except KeyboardInterrupt as error:
            raise StoppedError(signal.SIGINT) from error
        except TerminatedError as error:
            raise StoppedError(signal.SIGTERM) from error


@dataclass(frozen=True)
class _Run:
    """A run that is ready to be carried out, in a folder that is its own."""

    config: TrainConfig
    report: ReportSettings
    folder: Path
    record: dict[str, Any]
    data: RunExamples
    prepared: PreparedTraining
    test_texts: TokenizedTexts
    watch: Stopwatch


def _carry_out(
    run: _Run, classifier: TextClassifier, tracker: Tracking | Untracked, told: NoteKeeper
) -> TrainOutcome:
    """Train, or go on training; then everything that is made of the result."""
    config, folder, splits, watch = run.config, run.folder, run.data.splits, run.watch
    labels = run.prepared.loaded.classifier.labels
    baselines = run_baselines(labels, splits, seed=config.seed, on_event=told)
    watch.lap("baselines")
    label_issues = None
    if config.label_check:
        texts = run.test_texts
        label_issues = check_labels(
            run.prepared, splits, texts, folder=folder, seed=config.seed, on_event=told
        )
        watch.lap("label check")
    record = run.record
    fitted = classifier.train(
        run.prepared,
        record={
            "settings": run.record["settings"],
            "text_column": run.data.text_column,
            "label_column": run.data.label_column,
            "label_columns": run.data.task.columns,
            "text_pair_column": run.data.pair_column,
        },
        checkpoints=checkpoint_settings(config),
        tokens_after=int(run.test_texts.lengths.sum()),
        on_event=tracker,
    )
    watch.lap("train")
    told(Progress("save", 0, 1, "models"))
    classifier.save_pretrained(folder / "model")
    if fitted.adapter is not None:
        classifier.save_adapter(folder / "adapter")
    told(Progress("save", 1, 1, "models"))
    watch.lap("save")
    test_logits = classifier.predict_logits(run.test_texts, phase="evaluate", on_event=told)
    watch.lap("evaluate")
    validating = run.prepared.validating.texts
    logits = fitted.validation_logits
    validation = score(classifier, splits.validation, validating, logits, folder / VALIDATION)
    test = score(classifier, splits.test, run.test_texts, test_logits, folder / TEST)
    metrics = measure(
        classifier,
        test,
        validation=(validation.targets, validation.probs),
        baselines=baselines,
        settings=run.report,
        on_event=told,
    )
    watch.lap("measure")
    record["results"] = run_results(fitted, watch, folder / "model", run.test_texts)
    metrics = write_results(
        folder,
        metrics,
        title=f"{short_name(config.data)} with {short_name(config.model)}",
        facts=record_facts(record),
        notes=told.warnings,
        history=fitted.history,
        kept_epoch=fitted.kept_epoch,
        label_issues=label_issues,
        on_event=told,
    )
    watch.lap("report")
    tracker.log({f"test_{name}": value for name, value in metrics["test"].items()})
    record["results"] = run_results(fitted, watch, folder / "model", run.test_texts)
    write_model_card(folder / "model" / "README.md", metrics, record, name=folder.name)
    finish_run_folder(folder, record)
    return TrainOutcome(folder, metrics, watch.total, was_finished=False)


def _go_on(folder: Path, now: dict[str, Any], on_event: EventCallback) -> dict[str, Any]:
    """Check that an unfinished run is still the same, and make its folder ready.

    Returns:
        The record that the run began with, and this process in it.

    Raises:
        RunError: something that it began with has changed.
    """
    before = read_record(folder) or {}
    check_unchanged(folder, before, now, on_event)
    record = {**before, "process": now["process"]}
    reopen_run_folder(folder, record)
    return record


def _finished_before(folder: Path, config: TrainConfig) -> TrainOutcome:
    """Return the results that are there, if the data still is what they were made from."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    record = read_record(folder) or {}
    check_same_data(folder, record, read_examples(config).splits, config.data)
    if (folder / CHECKPOINTS_NAME).exists() and process_rank() == 0:  # a crash behind the last word
        with run_lock(folder):
            clear_finished(folder)
    seconds = sum(record.get("results", {}).get("seconds", {}).values())
    return TrainOutcome(folder, metrics, seconds, was_finished=True)

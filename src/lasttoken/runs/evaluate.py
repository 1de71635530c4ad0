"""`lasttoken evaluate`: score a trained model on other labeled data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lasttoken.config import EvaluateConfig
from lasttoken.config.tasks import check_task, split_names
from lasttoken.data.examples import Example, second_texts
from lasttoken.data.readers import LabeledData, iter_rows, locate_data, read_labeled
from lasttoken.data.splits import Splits, fingerprint, limit_examples, tell_leaks
from lasttoken.data.tasks import Task, name_of, task_of
from lasttoken.durable import telling
from lasttoken.errors import ConfigError, LastTokenError, RunError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.baseline import BaselineResult, Scores
from lasttoken.evaluation.kinds import KINDS
from lasttoken.evaluation.metrics import Probs
from lasttoken.events import EventCallback, Note, NoteKeeper
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.location import model_folder
from lasttoken.model.record import ModelRecord
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.examples import (
    Columns,
    describe_lengths,
    read_alike,
    read_examples,
    tell_findings,
)
from lasttoken.runs.facts import folder_bytes, shown_bytes, shown_rate, weights_sha256
from lasttoken.runs.label_check import CSV_NAME as LABEL_ISSUES
from lasttoken.runs.label_check import CheckedSplit, check_labels_of
from lasttoken.runs.predictions import TEST, VALIDATION, read_predictions
from lasttoken.runs.record import read_record, short_name
from lasttoken.runs.recorded import recorded_config
from lasttoken.runs.results import (
    check_reportable,
    measure,
    report_settings,
    run_baselines,
    score,
    targets,
    write_results,
)
from lasttoken.training.preparation import tell_reading_path
from lasttoken.versions import Stopwatch, machine, package_versions, peak_memory_bytes

_SEED = 123  # of --limit and of bootstraps: the same examples and intervals every time


@dataclass(frozen=True)
class EvaluateOutcome:
    """Where an evaluation was written, and the content of its `metrics.json`."""

    folder: Path
    metrics: Mapping[str, Any]


def run_evaluation(
    config: EvaluateConfig, *, command: Sequence[str], on_event: EventCallback
) -> EvaluateOutcome:
    """Score a model on labeled data; write metrics, predictions, plots and a report.

    The test split is scored if the data has one, else all of it.

    Raises:
        LastTokenError: the run, the data or a label is not as described, or the evaluation exists
            and `overwrite` is False.
    """
    watch = Stopwatch()
    told = NoteKeeper(on_event)
    model_folder(config.run)
    locate_data(config.data)
    classifier = TextClassifier.from_pretrained(
        config.run, precision=config.precision, device=config.device
    )
    record: ModelRecord = classifier.loaded_.record
    tell_reading_path(classifier.loaded_, told)
    task = scored_task(config, classifier)
    data = read_scored(config, record, task, told)
    folder = _folder(Path(config.run) / "evaluations", data.name, config.data)
    if folder.exists() and not folder.is_dir():
        raise RunError(
            f"{folder}: is a file",
            expected="a folder for the evaluation, or nothing under this name",
            remedy="move the file away",
        )
    if folder.exists() and not config.overwrite:
        raise RunError(
            f"{folder}: this evaluation is there already",
            expected="data that was not evaluated before",
            remedy="--overwrite, to make it anew",
        )
    examples = limit_examples(
        tuple(data.splits.get("test") or data.all_examples()), config.limit, _SEED, told, task
    )
    settings = report_settings(config, _SEED, examples)
    check_reportable(config, classifier.loaded_)
    tell_findings({"test": examples}, task, told)
    validation = _validation(config, classifier)
    labels = classifier.loaded_.classifier.labels
    targets(labels, examples)  # an unknown label is told before the work begins
    shown = task.describe([str(example.label) for example in examples])
    plural = "s" if len(examples) != 1 else ""
    told(Note(f"scoring {len(examples):,} example{plural} ({shown})"))
    pairs = second_texts(examples)
    texts = classifier.tokenize([example.text for example in examples], pairs, on_event=told)
    length_line = describe_lengths(data.name, texts)
    told(Note(length_line, is_warning=bool(texts.truncated.any())))
    training = _own_examples(config, told)
    baselines: tuple[BaselineResult[Scores], ...] = ()
    if training is not None:
        splits, seed = training
        tell_leaks(splits.train, examples, "scored", told, where="the run's")
        splits = replace(splits, test=examples)
        baselines = run_baselines(labels, splits, seed=seed, on_event=told)
    watch.lap("prepare")
    logits = classifier.predict_logits(texts, phase="evaluate", on_event=told)
    watch.lap("evaluate")
    with telling(folder):  # late: an interrupted evaluation leaves the earlier one alone
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LABEL_ISSUES).unlink(missing_ok=True)  # of an earlier one that looked for them
    label_issues = None
    if config.label_check:
        device = resolve_device(config.device)
        label_issues = check_labels_of(
            classifier.loaded_.classifier.to(device),
            [CheckedSplit(data.name, examples, texts)],
            device=device,
            precision=resolve_precision(config.precision, device),
            folder=folder,
            seed=_SEED,
            on_event=told,
        )
        watch.lap("label check")
    measured = measure(
        classifier,
        score(classifier, examples, texts, logits, folder / TEST),
        validation=validation,
        baselines=baselines,
        settings=settings,
        on_event=told,
    )
    watch.lap("measure")
    metrics = write_results(
        folder,
        measured,
        title=f"{short_name(config.run)} on {short_name(config.data)}",
        facts=_facts(config, classifier, examples, texts, watch, command),
        notes=told.warnings,
        label_issues=label_issues,
        on_event=on_event,
    )
    return EvaluateOutcome(folder, metrics)


def _facts(
    config: EvaluateConfig,
    classifier: TextClassifier,
    examples: Sequence[Example],
    texts: TokenizedTexts,
    watch: Stopwatch,
    command: Sequence[str],
) -> dict[str, dict[str, str]]:
    """Return data, model, cost and provenance as the tables of the report."""
    record, device = classifier.loaded_.record, resolve_device(config.device)
    seconds, folder = watch.seconds, model_folder(config.run)
    num_tokens = int(texts.lengths.sum())
    return {
        "Data": {
            "examples": f"{len(examples):,}, {num_tokens:,} tokens",
            "lengths": describe_lengths("scored", texts),
            "sha256": fingerprint(examples)[:16],
        },
        "Model": {
            "folder": str(folder),
            "made of": record.model or "-",
            "weights, sha256": weights_sha256(classifier.loaded_.classifier.hf_model)[:16],
            "precision": f"{resolve_precision(config.precision, device)} on {device}",
            "longest text": f"{record.reading.max_length:,} tokens",
        },
        "Cost": {
            **{f"{name}, seconds": f"{value:.1f}" for name, value in seconds.items()},
            "peak memory": shown_bytes(peak_memory_bytes()),
            "model folder": shown_bytes(folder_bytes(folder)),
            "predictions": shown_rate(
                len(examples) / seconds["evaluate"], num_tokens / seconds["evaluate"]
            ),
        },
        "Provenance": {
            "command": shlex.join(command),
            "seed": str(_SEED),
            **{key: str(value) for key, value in {**machine(), **package_versions()}.items()},
        },
    }


def _folder(parent: Path, name: str, data: str) -> Path:
    """Return the folder of this data: NAME, or NAME-2 ... where others of one name came first."""
    folder, number = parent / name, 1
    while not _may_hold(folder, data):
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def _may_hold(folder: Path, data: str) -> bool:
    """Return False if the folder holds the evaluation of a file or folder other than `data`."""
    predictions, wanted = folder / TEST, Path(data).expanduser()
    if not predictions.is_file() or not wanted.exists():
        return True
    _, first_row = next(iter(iter_rows(str(predictions))))
    held = Path(str(first_row["file"])).resolve()
    return wanted.resolve() in (held, *held.parents)


def scored_task(config: EvaluateConfig, classifier: TextClassifier) -> Task:
    """Return what the labels mean: as in training; the flags may name other columns."""
    labels, record = classifier.loaded_.classifier.labels, classifier.loaded_.record
    known = () if config.label_column else tuple(record.label_columns)
    if config.label_columns is not None:
        check_task(name_of(labels.kind), labels.separator, config.label_columns, None, "a model of")
    return task_of(labels, split_names(config.label_columns) or known)


def read_scored(
    config: EvaluateConfig, record: ModelRecord, task: Task, on_event: EventCallback
) -> LabeledData:
    """Read labeled data with the columns given, else those of training, else by guess.

    Raises:
        DatasetError: the data is not as described.
    """

    def read(columns: Columns) -> LabeledData:
        return read_labeled(
            config.data,
            text_column=columns.text,
            label_column=columns.label,
            pair_column=columns.pair,
            task=task,
            encoding=config.encoding,
            skip_bad_rows=config.skip_bad_rows,
            on_event=on_event,
        )

    given = Columns(config.text_column, config.label_column, config.text_pair_column)
    known = Columns(record.text_column, record.label_column, record.text_pair_column)
    return read_alike(read, given, known, on_event)


def _validation(
    config: EvaluateConfig, classifier: TextClassifier
) -> tuple[NDArray[Any], Probs] | None:
    """Return targets and probabilities of the run's own validation examples, if a run is there.

    Raises:
        ConfigError: a threshold is asked for that only they can tell.
        RunError: the file is damaged.
    """
    path = Path(config.run) / VALIDATION
    if path.is_file():
        stored = read_predictions(path)
        labels = classifier.loaded_.classifier.labels
        truth = KINDS[labels.kind].targets(labels, stored.labels)
        return truth, classifier.probs(stored.logits.astype("float32"))
    if config.precision_at_least is not None:
        raise ConfigError(
            f"--precision-at-least {config.precision_at_least}: {path} is not there",
            expected="a run folder, whose validation examples tell which threshold keeps that",
            remedy="evaluate the run folder, or leave --precision-at-least out",
        )
    return None


def _own_examples(config: EvaluateConfig, on_event: EventCallback) -> tuple[Splits, int] | None:
    """Return the run's own examples and seed; None, told why, if they are not there."""
    record = read_record(Path(config.run))
    if record is None:
        text = "no baselines: this is no run folder, so its training data is unknown"
        on_event(Note(text, is_warning=True))
        return None
    try:
        run_config = recorded_config(Path(config.run), record)
        splits = read_examples(run_config).splits
    except LastTokenError as error:
        on_event(Note(f"no baselines: the training data cannot be read again: {error.found}", True))
        return None
    if fingerprint(splits.train) != record["data"]["train"]["fingerprint"]:
        on_event(Note("no baselines: the training data has changed since the run", True))
        return None
    return splits, run_config.seed

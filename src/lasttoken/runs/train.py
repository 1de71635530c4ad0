"""`lasttoken train`: labeled text in; a measured, saved and reported classifier out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lasttoken.config import TrainConfig
from lasttoken.data.splits import fingerprint
from lasttoken.errors import RunError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.evaluate import Evaluation
from lasttoken.evaluation.verdict import verdict
from lasttoken.events import EpochEnd, Event, EventCallback, Note, NoteKeeper, Progress
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.examples import (
    describe_lengths,
    read_examples,
    tell_examples,
)
from lasttoken.runs.facts import new_record, record_facts, run_results
from lasttoken.runs.record import (
    is_finished_run,
    open_run_folder,
    read_record,
    run_folder,
    settings_of,
    write_record,
)
from lasttoken.runs.results import history_row, run_baselines, score, write_results
from lasttoken.training.fit import num_steps_per_epoch
from lasttoken.training.preparation import PreparedTraining
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
) -> TrainOutcome:
    """Train, evaluate beside baselines, save, report.

    Nothing is written before everything that can be refused has been looked at;
    `preflight.locate_inputs` tells the commonest mistakes sooner, before this module is imported.

    Args:
        config: the settings.
        command: the words that started the run, for the record.
        on_event: hears all there is to tell.

    Raises:
        LastTokenError: data, model, a setting or the output folder is not as described.
    """
    watch = Stopwatch()
    folder = run_folder(config)
    settings = settings_of(config)
    if is_finished_run(folder, settings, overwrite=config.overwrite):
        return _finished_before(folder, config)
    told = NoteKeeper(on_event)

    data = read_examples(config, told)
    tell_examples(data, told)
    classifier = _make_classifier(config)
    prepared = classifier.prepare(data.splits.train, data.splits.validation, on_event=told)
    test_texts = prepared.tokenize(data.splits.test, on_event=told)
    _tell_plan(prepared, test_texts, told)
    watch.lap("prepare")

    record = new_record(settings, command, data, prepared, test_texts)
    open_run_folder(folder, record, overwrite=config.overwrite)
    labels = prepared.loaded.classifier.labels
    baselines = run_baselines(
        labels, data.splits.train, data.splits.test, seed=config.seed, on_event=told
    )
    watch.lap("baselines")
    fitted = classifier.train(
        prepared,
        record={
            "settings": settings,
            "text_column": data.text_column,
            "label_column": data.label_column,
        },
        tokens_after=int(test_texts.lengths.sum()),
        on_event=_HistoryWriter(told, folder / "history.jsonl"),
    )
    watch.lap("train")
    on_event(Progress("save", 0, 1, "models"))
    classifier.save_pretrained(folder / "model")
    on_event(Progress("save", 1, 1, "models"))
    watch.lap("save")
    predictions = folder / "predictions"
    validation_scores = score(
        classifier, data.splits.validation, fitted.validation_logits,
        predictions / "validation.parquet",
    )  # fmt: skip
    test_logits = classifier.predict_logits(test_texts, phase="evaluate", on_event=told)
    test_scores = score(classifier, data.splits.test, test_logits, predictions / "test.parquet")
    watch.lap("evaluate")
    record = {**record, "results": run_results(fitted, watch)}
    metrics = write_results(
        folder,
        Evaluation(test_scores, validation_scores, baselines, verdict(test_scores, baselines)),
        labels,
        title=f"{config.data} with {config.model}",
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        facts=record_facts(record),
        notes=told.warnings,
        on_event=on_event,
    )
    watch.lap("report")
    record["results"] = run_results(fitted, watch)
    write_record(folder, {**record, "status": "finished"})
    return TrainOutcome(folder, metrics, watch.total, was_finished=False)


class _HistoryWriter:
    """Pass events on, and append each finished epoch to `history.jsonl`."""

    def __init__(self, on_event: EventCallback, path: Path) -> None:
        self._on_event = on_event
        self._path = path

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochEnd):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(history_row(event)) + "\n")
        self._on_event(event)


def _make_classifier(config: TrainConfig) -> TextClassifier:
    return TextClassifier(
        config.model,
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_fraction=config.warmup_fraction,
        max_grad_norm=config.max_grad_norm,
        early_stopping_patience=config.early_stopping_patience,
        trainable=config.trainable,
        depth=config.depth,
        max_length=config.max_length,
        prompt=config.prompt,
        fix_text=config.fix_text,
        seed=config.seed,
        precision=config.precision,
        device=config.device,
    )


def _tell_plan(
    prepared: PreparedTraining, test_texts: TokenizedTexts, on_event: EventCallback
) -> None:
    """Tell what is about to happen: lengths, cuts, steps, precision."""
    for name, texts in (
        ("train", prepared.training.texts),
        ("validation", prepared.validating.texts),
        ("test", test_texts),
    ):
        on_event(Note(describe_lengths(name, texts), is_warning=bool(texts.truncated.any())))
    settings = prepared.settings
    epochs = "epoch" if settings.num_epochs == 1 else "epochs"
    steps = num_steps_per_epoch(len(prepared.training), settings) * settings.num_epochs
    work = (
        f"{steps:,} steps in {settings.num_epochs} {epochs}, batches of {settings.batch_size}, "
        f"learning rate {settings.learning_rate:g}"
    )
    if settings.learns.kind == "probe":
        work = "no steps: one pass, then a head is fitted"
    on_event(
        Note(
            f"{work}; read {prepared.loaded.classifier.proof.path}, {settings.precision} on "
            f"{settings.device}, seed {settings.seed}"
        )
    )


def _finished_before(folder: Path, config: TrainConfig) -> TrainOutcome:
    """Return the results that are there, if the data still is what they were made from."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    record = read_record(folder) or {}
    splits = read_examples(config).splits
    for name in ("train", "validation", "test"):
        if fingerprint(getattr(splits, name)) != record["data"][name]["fingerprint"]:
            raise RunError(
                f"--output-dir {folder}: holds this run on other data; {config.data} has changed",
                expected="the data of the finished run, or a new folder",
                remedy="another --output-dir, or --overwrite",
            )
    seconds = sum(record.get("results", {}).get("seconds", {}).values())
    return TrainOutcome(folder, metrics, seconds, was_finished=True)

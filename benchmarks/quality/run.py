"""Runs one cell in a process of its own, and makes its record."""

from __future__ import annotations

import datetime
import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.driver import Contender, run_to_end
from benchmarks.environments import encoder_folder, make_environment, python_of
from benchmarks.measure import SMOKE, machine_record, write_record
from benchmarks.models import gpt2_folder, smollm2_folder
from benchmarks.quality import scores, sets
from benchmarks.quality.cells import Cell, read, truth_path, write
from benchmarks.quality.contenders import (
    CONTENDERS,
    DECODER,
    ENCODER,
    NotReadyError,
    best_of,
    candidates,
    is_taken_over,
    settings_of,
    trainer_facts,
)
from benchmarks.quality.recipes import Facts

_DETAILS = ("steps", "kept_epoch", "tokens", "peak_bytes", "chosen")


def current_settings(cell: Cell, folder: Path) -> dict[str, Any]:
    """Return the settings that a cell has now.

    Raises:
        NotReadyError: they depend on a cell that has not run.
    """
    return settings_of(cell, _facts(cell, folder))


def run_cell(cell: Cell, folder: Path, threads: int) -> dict[str, Any]:
    """Train, score and keep a cell; returns its record.

    Raises:
        NotReadyError: it depends on a cell that has not run, or an environment cannot be made.
        WorkerError: its process failed.
    """
    settings = current_settings(cell, folder)
    if is_taken_over(cell):
        record = read(best_of(candidates(cell)))  # the choice was made with this very run
        assert record is not None
    else:
        record = _measured(cell, settings, folder, threads)
    write(cell, {key: value for key, value in record.items() if key not in vars(cell)})
    return record


def _measured(cell: Cell, settings: dict[str, Any], folder: Path, threads: int) -> dict[str, Any]:
    entrant, data = CONTENDERS[cell.contender], sets.SETS[cell.data]
    if entrant.environment:
        error = make_environment(entrant.environment)
        if error:
            raise NotReadyError(f"no environment {entrant.environment}: {error}")
    path, counts = sets.write_texts(cell.data, cell.size, cell.seed, folder)
    splits = sets.draw(cell.data, cell.size, cell.seed, folder)
    labels = sets.label_names(cell.data, folder)
    job = {
        "texts": str(path),
        "labels": labels,
        "task": data.task,
        "separator": sets.SEPARATOR,
        **settings,
    }
    if entrant.model:
        job["model"] = str(_model(entrant.model))
    python = str(python_of(entrant.environment)) if entrant.environment else None
    contender = Contender(cell.name, entrant.entry, entrant.kind, job, python=python)
    busy = os.getloadavg()[0]
    started = time.perf_counter()
    report = run_to_end(contender, threads)
    total = time.perf_counter() - started
    probs = {part: np.array(report["probs"][part]) for part in ("validation", "test")}
    truth = {part: scores.flags_of(splits[part].labels, labels) for part in probs}
    thresholds = None
    if data.task == sets.MULTI:
        thresholds = scores.fit_thresholds(probs["validation"], truth["validation"])
    given = scores.decide(probs["test"], data.task, thresholds)
    validation = scores.validation_score(
        data.metric, data.task, probs["validation"], truth["validation"]
    )
    return {
        "metric": data.metric,
        "settings": settings,
        "seconds": round(report["seconds"], 2),
        "load_seconds": round(report["load_seconds"], 2),
        "total_seconds": round(total, 2),
        "validation": round(validation, 6),
        "test": round(float(scores.score(data.metric, truth["test"], given)[0]), 6),
        **counts,
        "details": {key: report[key] for key in _DETAILS if key in report},
        "threads": threads,
        "load_before": round(busy, 2),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **machine_record(),
        **({"versions": report["versions"]} if "versions" in report else {}),
        "thresholds": thresholds and [float(f"{threshold:.6g}") for threshold in thresholds],
        "test_sha256": sets.checksum(splits["test"]),
        "predicted": scores.packed(given),
    }


def _facts(cell: Cell, folder: Path) -> Facts:
    splits = sets.draw(cell.data, cell.size, cell.seed, folder)
    train = splits["train"]
    labels = sets.label_names(cell.data, folder)
    counts = scores.flags_of(train.labels, labels).sum(axis=0)
    return Facts(
        task=sets.SETS[cell.data].task,
        num_examples=len(train.texts),
        num_validating=len(splits["validation"].texts),
        num_labels=len(labels),
        num_blocks=_num_blocks(),
        fewest=int(counts.min()),
        trainer=trainer_facts(cell),
    )


@cache
def _num_blocks() -> int:
    config = json.loads((_model(DECODER) / "config.json").read_text(encoding="utf-8"))
    return int(config.get("num_hidden_layers") or config["n_layer"])


@cache
def _model(which: str) -> Path:
    if which == ENCODER:
        return encoder_folder()
    assert which == DECODER
    return gpt2_folder(0.0) if SMOKE else smollm2_folder()


def keep_truth(data: str, folder: Path) -> None:
    """Keep the true labels of the test examples, which no later folder may change.

    They are the data set's, so they stay out of the repository.

    Raises:
        NotReadyError: the folder has other test examples than those that were kept.
    """
    labels = sets.label_names(data, folder)
    test = sets.draw(data, "all", 1, folder)["test"]  # the same for every size and seed
    path, checksum = truth_path(data), sets.checksum(test)
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))["test_sha256"]
        if kept != checksum:
            raise NotReadyError(f"{data} has other test examples than the cells in {path.parent}")
        return
    truth = scores.packed(scores.flags_of(test.labels, labels))
    write_record(path, {"labels": labels, "test_sha256": checksum, "truth": truth})

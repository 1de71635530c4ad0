"""What `run.json` holds: what a run is about to do, what it did, and both as report tables."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lasttoken.data.samples import SAMPLE_DATA, SAMPLE_MODELS
from lasttoken.data.splits import fingerprint
from lasttoken.launch import world_size
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.examples import RunExamples
from lasttoken.settings import is_number
from lasttoken.training.defaults import SETTLED
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.state import FitResult
from lasttoken.versions import Stopwatch, machine, package_versions, peak_memory_bytes

# Laps of the stopwatch behind training that the estimate of the time left counts.
_AFTER_TRAINING = ("save", "evaluate", "measure", "report")


def new_record(
    settings: Mapping[str, Any],
    command: Sequence[str],
    data: RunExamples,
    prepared: PreparedTraining,
    test_texts: TokenizedTexts,
) -> dict[str, Any]:
    """Return what `run.json` knows before training starts."""
    splits = data.splits
    texts = {
        "train": prepared.training.texts,
        "validation": prepared.validating.texts,
        "test": test_texts,
    }
    return {
        "schema_version": 1,
        "command": list(command),
        "settings": dict(settings),
        "data_location": _location(settings["data"], SAMPLE_DATA),
        "validation_location": _fraction_or_location(settings["validation"]),
        "test_location": _fraction_or_location(settings["test"]),
        "model_location": _location(settings["model"], SAMPLE_MODELS),
        "resolved": {
            "max_length": prepared.reading.max_length,
            "window_overlap": prepared.reading.window_overlap,
            "pair_separator": prepared.reading.pair_separator,
            "precision": prepared.settings.precision,
            "device": str(prepared.settings.device),
            "reading_path": prepared.loaded.classifier.proof.path,
            "reading_reason": prepared.loaded.classifier.proof.reason,
            "whole_block_reason": prepared.loaded.classifier.proof.whole_block_reason,
            "long_blocks_reason": prepared.loaded.classifier.proof.long_blocks_reason,
            "text_column": data.text_column,
            "label_column": data.label_column,
            "text_pair_column": data.pair_column,
            "labels": list(prepared.loaded.classifier.labels.labels),
            "label_weights": prepared.objective.weight_of,
            # Of the depth "auto", see the results.
            **{name: getattr(prepared.settings, name) for name in SETTLED},
            "trainable": prepared.settings.trainable,
            "num_blocks": prepared.num_blocks,
            "model_sha256": weights_sha256(prepared.loaded.classifier.hf_model.base_model),
        },
        "data": {
            name: {
                "examples": len(examples),
                "fingerprint": fingerprint(examples),
                "tokens": int(texts[name].lengths.sum()),
                "tokens_sha256": hashlib.sha256(texts[name].token_ids.data).hexdigest(),
                "texts_cut": int(texts[name].truncated.sum()),
            }
            for name, examples in (
                ("train", splits.train),
                ("validation", splits.validation),
                ("test", splits.test),
            )
        },
        "versions": package_versions(),
        "machine": {**machine(), "processes": world_size()},
        "process": {"pid": os.getpid(), "host": platform.node()},
        "resumed": [],  # an entry for each time that the run went on from a checkpoint
    }


def _location(name: str, samples: Sequence[str]) -> str:
    """Return a path as seen from anywhere; a sample's or the Hub's name as it is."""
    path = os.path.expanduser(name)
    return name if name in samples or not os.path.exists(path) else os.path.abspath(path)


def _fraction_or_location(setting: str) -> str:
    # A number is a fraction, also beside a file of that name.
    return setting if is_number(setting) else _location(setting, SAMPLE_DATA)


def weights_sha256(model: nn.Module) -> str:
    """Return the SHA-256 over a model's weights, in their order."""
    digest = hashlib.sha256()
    for weight in model.parameters():
        values = weight.detach().cpu().contiguous().flatten()
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def run_results(
    fitted: FitResult, watch: Stopwatch, model: Path, test_texts: TokenizedTexts
) -> dict[str, Any]:
    """Return what `run.json` says about the outcome: epoch, steps, seconds, memory, size, rate.

    Args:
        fitted: what training gave.
        watch: with the laps "train", "save", "evaluate", and later ones as they come.
        model: the model folder.
        test_texts: whose pass is the lap "evaluate".
    """
    estimate = fitted.estimated_seconds
    actual = None
    if estimate is not None and fitted.seconds_at_estimate is not None:
        after_training = sum(watch.seconds.get(lap, 0.0) for lap in _AFTER_TRAINING)
        actual = watch.seconds["train"] - fitted.seconds_at_estimate + after_training
    return {
        "kept_epoch": fitted.kept_epoch,
        "steps": fitted.num_steps,
        "stopped_early": fitted.stopped_early,
        **dataclasses.asdict(fitted.extent),
        "seconds": {name: round(value, 3) for name, value in watch.seconds.items()},
        "time_left_estimated": estimate,
        "time_left_actual": actual,
        "peak_memory_bytes": peak_memory_bytes(),
        "model_bytes": folder_bytes(model),
        "texts_per_second": len(test_texts) / watch.seconds["evaluate"],
        "tokens_per_second": int(test_texts.lengths.sum()) / watch.seconds["evaluate"],
    }


def record_facts(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the record as the tables of the report."""
    resolved, results = record["resolved"], record["results"]
    return {
        "Data": {
            name: f"{part['examples']:,} examples, {part['tokens']:,} tokens, "
            f"{part['texts_cut']:,} texts cut, sha256 {part['fingerprint'][:16]}"
            for name, part in record["data"].items()
        },
        "Model": {
            "model": str(record["settings"]["model"]),
            "read": " ".join(filter(None, (resolved["reading_path"], resolved["reading_reason"]))),
            "precision": f"{resolved['precision']} on {resolved['device']}",
            "longest text": f"{resolved['max_length']:,} tokens",
            "blocks": f"{results['depth']} of {results['num_blocks']}",
            "weights that learn": f"{results['num_trainable_weights']:,} of "
            f"{results['num_weights']:,}",
        },
        **_probe_facts(results["probe_table"]),
        "Settings": {
            name: "-" if value is None else str(value)
            for name, value in settled_settings(record).items()
        },
        "Cost": {
            **{f"{name}, seconds": f"{value:.1f}" for name, value in results["seconds"].items()},
            "time left as estimated, seconds": _seconds(results["time_left_estimated"]),
            "time left as it was, seconds": _seconds(results["time_left_actual"]),
            "peak memory": shown_bytes(results["peak_memory_bytes"]),
            "model folder": shown_bytes(results["model_bytes"]),
            "predictions": shown_rate(results["texts_per_second"], results["tokens_per_second"]),
        },
        "Provenance": {
            "command": shlex.join(record["command"]),
            "seed": str(record["settings"]["seed"]),
            "weights before training, sha256": resolved["model_sha256"][:16],
            **{name: str(value) for name, value in record["machine"].items()},
            **record["versions"],
        },
    }


def settled_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a run; what its data and model decided stands for itself."""
    settled = {name: record["resolved"][name] for name in SETTLED if name in record["resolved"]}
    return {**record["settings"], **settled}


def _probe_facts(table: Mapping[str, Any] | None) -> dict[str, dict[str, str]]:
    """Return the probe table as a table of the report, if there is one."""
    if table is None:
        return {}
    return {
        "Probes": {
            f"block {row['depth']}": f"cross-validated {row['cross_validated_accuracy']:.3f}, "
            f"validation {row['validation_accuracy']:.3f}, C {row['C']:g}"
            for row in table["rows"]
        }
    }


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def shown_rate(texts: float, tokens: float) -> str:
    """Return texts and tokens a second as the report shows them."""
    return f"{texts:,.0f} texts or {tokens:,.0f} tokens a second"


def folder_bytes(folder: Path) -> int:
    """Return the size of a folder's files."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def shown_bytes(value: int | None) -> str:
    """Return bytes as the report shows them."""
    return "-" if value is None else f"{value / 2**30:.2f} GiB"

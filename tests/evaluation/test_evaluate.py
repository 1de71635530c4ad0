"""The content and the writing of `metrics.json`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lasttoken.evaluation.baseline import TFIDF, BaselineResult, majority_baseline
from lasttoken.evaluation.evaluate import Evaluation, metrics_dict, write_metrics
from lasttoken.evaluation.metrics import classification_metrics

LABELS = ("schlecht", "größer")


def small_evaluation() -> Evaluation:
    """Return an evaluation of two examples with one baseline that failed."""
    ids = np.array([0, 1])
    metrics = classification_metrics(ids, np.array([[0.75, 0.25], [0.25, 0.75]]), LABELS)
    failed = BaselineResult(TFIDF, None, {"seed": 1}, 0.5, "no training text holds a word")
    return Evaluation(metrics, None, (majority_baseline(ids, ids, LABELS), failed), "Fine.")


def test_the_mapping_holds_what_the_design_promises() -> None:
    mapping = metrics_dict(small_evaluation(), LABELS)
    assert list(mapping) == [
        "schema_version", "labels", "verdict", "test", "validation", "baselines",
    ]  # fmt: skip
    assert mapping["schema_version"] == 1
    assert mapping["labels"] == ["schlecht", "größer"]
    assert mapping["validation"] is None
    baselines = mapping["baselines"]
    assert isinstance(baselines, dict)
    assert list(baselines) == ["majority", "tfidf_logistic_regression"]
    assert baselines["majority"]["accuracy"] == 0.5
    assert baselines["majority"]["settings"] == {"label": "schlecht"}
    assert baselines["majority"]["reason"] is None
    assert baselines["tfidf_logistic_regression"] == {
        "settings": {"seed": 1},
        "seconds": 0.5,
        "reason": "no training text holds a word",
    }


def test_the_file_is_readable_text_that_reads_back_the_same(tmp_path: Path) -> None:
    mapping = metrics_dict(small_evaluation(), LABELS)
    path = tmp_path / "metrics.json"
    write_metrics(path, mapping)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == mapping
    assert text.startswith('{\n  "schema_version": 1,\n')
    assert '"größer"' in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_nan_is_never_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, {"accuracy": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metrics(path, {"accuracy": math.nan})
    assert json.loads(path.read_text(encoding="utf-8")) == {"accuracy": 1.0}

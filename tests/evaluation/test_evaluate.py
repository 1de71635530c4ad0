"""The content and the writing of `metrics.json`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from answered import numbers

from lasttoken.evaluation.evaluate import write_metrics


def test_the_mapping_holds_what_the_design_promises() -> None:
    mapping = numbers(("schlecht", "größer"))
    assert set(mapping) >= {
        "schema_version", "labels", "verdict", "test", "validation", "baselines",
    }  # fmt: skip
    assert mapping["schema_version"] == 2
    assert mapping["labels"] == ["schlecht", "größer"]
    baselines = mapping["baselines"]
    assert list(baselines) == ["tfidf_logistic_regression", "majority"]
    assert baselines["majority"]["accuracy"] == 0.5
    assert baselines["majority"]["settings"] == {"label": "schlecht"}
    assert baselines["majority"]["reason"] is None
    assert baselines["tfidf_logistic_regression"] == {
        "settings": {"C": 3.0},
        "seconds": 0.25,
        "reason": "no training text holds a word",
    }


def test_every_interval_holds_its_score() -> None:
    test = numbers()["test"]
    for name, ends in test["intervals"].items():
        low, high = ends
        assert low <= test[name] <= high, name
    for entry in test["per_label"].values():
        for name, (low, high) in entry["intervals"].items():
            assert low <= entry[name] <= high, name


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, other = numbers(), numbers()
    for each in (one, other):
        for baseline in each["baselines"].values():
            baseline.pop("seconds")
    assert one == other


def test_the_file_is_readable_text_that_reads_back_the_same(tmp_path: Path) -> None:
    mapping = numbers(("schlecht", "größer"))
    path = tmp_path / "metrics.json"
    write_metrics(path, mapping)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == mapping
    assert text.startswith('{\n "schema_version": 2,\n')
    assert '"größer"' in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_nan_is_never_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, {"accuracy": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metrics(path, {"accuracy": math.nan})
    assert json.loads(path.read_text(encoding="utf-8")) == {"accuracy": 1.0}

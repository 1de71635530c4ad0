"""Defaults that follow from data and model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Command, write_reviews
from lasttoken.settings import parse_trainable
from lasttoken.training.defaults import (
    SETTLED,
    default_batch_size,
    default_learning_rate,
    default_num_epochs,
)


@pytest.mark.parametrize(
    ("num_examples", "epochs", "batch"),
    [(0, 6, 8), (1, 6, 8), (32, 6, 8), (100, 5, 8), (200, 4, 16), (500, 3, 16), (1_000, 3, 32),
     (2_000, 2, 32), (4_000, 2, 32), (8_000, 2, 32), (12_000, 1, 32), (1_000_000, 1, 32)],
)  # fmt: skip
def test_fewer_examples_are_read_more_often_and_in_smaller_batches(
    num_examples: int, epochs: int, batch: int
) -> None:
    assert default_num_epochs(num_examples) == epochs
    assert default_batch_size(num_examples) == batch


def test_the_rate_falls_with_the_width_and_rises_where_fewer_weights_learn() -> None:
    def rate(width: int, trainable: str = "full") -> float:
        return default_learning_rate(width, parse_trainable(trainable))

    assert rate(576) == 1e-4
    assert rate(768) == 7.5e-5
    assert rate(4_096) == 1.4e-5
    assert rate(576, "last-3") == 2e-4
    assert rate(576, "lora") == 1e-3


def test_what_data_and_model_decide_is_told_recorded_and_shown(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path
) -> None:
    data = write_reviews(tmp_path / "reviews.csv")
    done = lasttoken("train", data, "--model", tiny_gpt2, "--output-dir", tmp_path / "run",
                     "--max-length", "16", "--explain", "none")  # fmt: skip
    assert done.code == 0, done.err
    assert "24 steps in 6 epochs, batches of 8, learning rate 0.0009;" in done.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    settled = {name: record["resolved"][name] for name in SETTLED}
    assert settled == {"num_epochs": 6, "batch_size": 8, "learning_rate": 0.0009, "depth": 2}
    for page in ("report.html", "model/README.md"):
        assert "0.0009" in (tmp_path / "run" / page).read_text()


@pytest.mark.parametrize(
    ("flags", "kept"), [((), 2), (("--depth", "all"), 2), (("--depth", "1"), 1)]
)
def test_all_blocks_are_kept_unless_a_number_is_given(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, flags: tuple[str, ...], kept: int
) -> None:
    data, run = write_reviews(tmp_path / "reviews.csv"), tmp_path / "run"
    done = lasttoken("train", data, "--model", tiny_gpt2, "--output-dir", run, "--num-epochs", "1",
                     "--max-length", "16", "--explain", "none", *flags)  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads((run / "run.json").read_text())["resolved"]["depth"] == kept
    assert json.loads((run / "model" / "config.json").read_text())["n_layer"] == kept
    repeated = lasttoken("rerun", run)
    assert repeated.code == 0, repeated.err

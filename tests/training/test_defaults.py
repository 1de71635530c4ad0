"""Defaults that follow from data and model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Command, Outcome, write_reviews
from families import save_decoder
from lasttoken.data.examples import Example
from lasttoken.errors import BackboneError
from lasttoken.estimator import TextClassifier
from lasttoken.events import Event
from lasttoken.settings import parse_trainable
from lasttoken.training.defaults import (
    SETTLED,
    default_batch_size,
    default_depth,
    default_learning_rate,
    default_num_epochs,
)


@pytest.mark.parametrize(
    ("num_examples", "epochs", "batch"),
    [(1, 10, 8), (32, 10, 8), (100, 10, 8), (200, 8, 16), (500, 5, 16), (1_000, 4, 32),
     (2_000, 3, 32), (4_000, 2, 32), (8_000, 2, 32), (12_000, 1, 32), (1_000_000, 1, 32)],
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
    assert "40 steps in 10 epochs, batches of 8, learning rate 0.0009;" in done.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    settled = {name: record["resolved"][name] for name in SETTLED}
    assert settled == {"num_epochs": 10, "batch_size": 8, "learning_rate": 0.0009, "depth": 2}
    for page in ("report.html", "model/README.md"):
        assert "0.0009" in (tmp_path / "run" / page).read_text()


@pytest.mark.parametrize(
    ("num_examples", "num_blocks", "depth"),
    [(32, 30, 20), (999, 30, 20), (1_000, 30, 30), (32, 24, 16), (32, 23, 23), (32, 12, 12),
     (500, 48, 32), (50_000, 48, 48)],
)  # fmt: skip
def test_of_few_examples_a_deep_model_keeps_its_first_two_thirds(
    num_examples: int, num_blocks: int, depth: int
) -> None:
    assert default_depth(num_examples, num_blocks) == depth


@pytest.fixture(scope="module")
def deep_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of 24 narrow blocks."""
    changes = {"n_layer": 24, "n_embd": 16, "n_head": 2}
    return save_decoder(tmp_path_factory.mktemp("models") / "deep-gpt2", **changes)


TOLD = "the first 16 of 24 blocks are kept: the default for less than 1,000 examples"


def train_shortly(lasttoken: Command, model: Path, run: Path, *flags: object) -> Outcome:
    data = write_reviews(run.parent / "reviews.csv")
    done = lasttoken("train", data, "--model", model, "--output-dir", run, "--num-epochs", "1",
                     "--max-length", "16", "--explain", "none", *flags)  # fmt: skip
    assert done.code == 0, done.err
    return done


def num_blocks_of(run: Path) -> tuple[int, int]:
    """The blocks that a run recorded, and those of its saved model."""
    record = json.loads((run / "run.json").read_text())
    saved = json.loads((run / "model" / "config.json").read_text())
    return record["resolved"]["depth"], saved["n_layer"]


def test_the_default_depth_is_told_recorded_saved_and_repeated(
    lasttoken: Command, deep_gpt2: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert f"{TOLD}; --depth all keeps all" in train_shortly(lasttoken, deep_gpt2, run).err
    assert num_blocks_of(run) == (16, 16)
    repeated = lasttoken("rerun", run)
    assert repeated.code == 0, repeated.err


@pytest.mark.parametrize(
    "flags", [("--depth", "all"), ("--depth", "24"), ("--trainable", "last-2")]
)
def test_whoever_says_what_is_kept_or_learns_keeps_all_blocks(
    lasttoken: Command, deep_gpt2: Path, tmp_path: Path, flags: tuple[str, str]
) -> None:
    done = train_shortly(lasttoken, deep_gpt2, tmp_path / "run", *flags)
    assert "blocks are kept" not in done.err
    assert num_blocks_of(tmp_path / "run") == (24, 24)


def test_a_model_that_brings_its_head_keeps_its_blocks(
    lasttoken: Command, deep_gpt2: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train_shortly(lasttoken, deep_gpt2, first, "--depth", "all")
    done = train_shortly(lasttoken, first / "model", second)
    assert "the model's own head is kept" in done.err
    assert num_blocks_of(second) == (24, 24)


def test_a_family_that_cannot_be_cut_keeps_its_blocks_and_says_why(
    deep_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise BackboneError("two lists of 24 blocks", expected="one", remedy="another model")

    monkeypatch.setattr("lasttoken.model.classifier.cut_blocks", cannot)
    told: list[Event] = []
    examples = [Example(f"text {n}", "ab"[n % 2], row=n) for n in range(16)]
    clf = TextClassifier(str(deep_gpt2), device="cpu")
    prepared = clf.prepare(examples, examples, on_event=told.append)
    assert prepared.settings.depth == 24
    assert "all 24 blocks are kept: two lists of 24 blocks" in [
        getattr(e, "text", "") for e in told
    ]

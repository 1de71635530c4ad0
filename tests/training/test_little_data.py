"""Few examples: epochs must be as good as the fitted head that they start from, or it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from killing import Runs, result
from test_training import LABELS, TEXTS

from conftest import write_reviews
from lasttoken import TextClassifier
from lasttoken.events import Event, Note

SPOILED = {"num_epochs": 3, "batch_size": 8, "learning_rate": 1.0, "precision": "fp32"}
KEPT = Note("no epoch was as good as the start, which is kept", is_warning=True)


@pytest.mark.parametrize("trainable", ["full", "last-1", "lora"])
def test_where_epochs_only_spoil_the_model_the_start_is_kept(
    tiny_gpt2: Path, trainable: str
) -> None:
    events: list[Event] = []
    spoiled = TextClassifier(str(tiny_gpt2), trainable=trainable, **SPOILED)
    spoiled.fit(TEXTS, LABELS, validation=(TEXTS, LABELS), on_event=events.append)
    untouched = TextClassifier(
        str(tiny_gpt2), trainable=trainable, **{**SPOILED, "learning_rate": 1e-12, "num_epochs": 1}
    ).fit(TEXTS, LABELS, validation=(TEXTS, LABELS))
    assert spoiled.kept_epoch_ == 0
    assert KEPT in events
    assert np.allclose(spoiled.predict_proba(TEXTS), untouched.predict_proba(TEXTS), atol=1e-5)


def test_where_epochs_help_the_best_of_them_is_kept_and_the_start_was_told(
    tiny_gpt2: Path,
) -> None:
    events: list[Event] = []
    classifier = TextClassifier(str(tiny_gpt2), **{**SPOILED, "learning_rate": 3e-3})
    classifier.fit(TEXTS, LABELS, validation=(TEXTS, LABELS), on_event=events.append)
    assert classifier.kept_epoch_ > 0
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(note.startswith("before the first step, validation macro F1 ") for note in notes)
    assert KEPT not in events


@pytest.mark.parametrize(
    "weighed", [{"class_weights": "balanced"}, {"focal_gamma": 2.0}, {"sampling": "balanced"}]
)
def test_a_start_that_is_kept_was_not_weighed_which_is_told(
    tiny_gpt2: Path, weighed: dict[str, object]
) -> None:
    events: list[Event] = []
    classifier = TextClassifier(str(tiny_gpt2), **{**SPOILED, "num_epochs": 1}, **weighed)
    classifier.fit(TEXTS, LABELS, on_event=events.append)
    assert classifier.kept_epoch_ == 0
    unweighed = ": class weights, focal loss or balanced sampling had no part in it"
    assert Note(KEPT.text + unweighed, is_warning=True) in events


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["full", "lora"])
def test_a_killed_run_that_ends_with_its_start_ends_with_the_same_start(
    tiny_gpt2: Path, tmp_path: Path, trainable: str
) -> None:
    data = write_reviews(tmp_path / "reviews.csv")
    words = [
        "train", data, "--model", tiny_gpt2, "--num-epochs", "3", "--batch-size", "8",
        "--learning-rate", "1.0", "--precision", "fp32", "--checkpoint-steps", "1",
        "--trainable", trainable,
    ]  # fmt: skip
    with Runs(tmp_path) as runs:
        assert runs.run(*words, "--output-dir", tmp_path / "whole") == 0, runs.printed()
        expected = result(tmp_path / "whole")
        for batch in (3, 6, 10):  # in the first epoch, in the second, in the third
            name = tmp_path / f"stopped-{batch}"
            assert runs.run(*words, "--output-dir", name, stop_at_batch=batch) != 0
            assert runs.run(*words, "--output-dir", name) == 0, runs.printed()
            assert result(name) == expected
        assert KEPT.text in runs.printed()

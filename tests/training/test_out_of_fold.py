"""Out-of-fold probabilities: no text judges itself or its copies, and every text is judged once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from test_training import LABELS, TEXTS

from families import save_decoder
from lasttoken import ConfigError, TextClassifier
from lasttoken.data.examples import examples_from_python
from lasttoken.events import Event, Progress
from lasttoken.training import out_of_fold, scratch
from lasttoken.training.features import features_shape, fill_features
from lasttoken.training.head_fits import leave_out_folds, state_scale
from lasttoken.training.out_of_fold import OutOfFold, out_of_fold_probs
from lasttoken.training.preparation import PreparedTraining

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def scratch_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for temporary files that must be empty after every test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedTraining:
    """Sixty texts and a random model of three blocks; for reading only."""
    folder = save_decoder(tmp_path_factory.mktemp("m") / "gpt2", n_layer=3, initializer_range=0.05)
    return prepare(folder, TEXTS, LABELS)


def prepare(folder: Path, texts: list[str], labels: list[str]) -> PreparedTraining:
    examples = examples_from_python(texts, labels)
    return TextClassifier(str(folder), precision="fp32", device="cpu").prepare(examples, examples)


def ids_of(prepared: PreparedTraining) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = prepared.loaded.classifier.labels.encode(
        prepared.training.labels
    ).numpy()
    return ids


def judge(prepared: PreparedTraining, **changes: Any) -> OutOfFold:
    texts = prepared.training.texts
    words: dict[str, Any] = {
        "texts": texts,
        "label_ids": ids_of(prepared),
        "copy_of": np.arange(len(texts)),
        "device": CPU,
        "precision": "fp32",
        "seed": 1,
    }
    return out_of_fold_probs(prepared.loaded.classifier, **{**words, **changes})


def test_every_text_gets_probabilities_from_the_best_blocks(prepared: PreparedTraining) -> None:
    label_ids = np.array([text.endswith(("again", "today")) for text in TEXTS]).astype(np.int64)
    result = judge(prepared, label_ids=label_ids)
    assert result.probs.shape == (60, 2)
    assert result.probs.dtype == np.float64
    assert result.probs.sum(axis=1) == pytest.approx(np.ones(60))
    assert sorted(result.depths) == [1, 2, 3]  # no more than there are
    assert np.mean(result.probs.argmax(axis=1) == label_ids) > 0.9


def test_the_same_seed_gives_the_same_bits_and_the_model_stays_as_it_was(
    prepared: PreparedTraining,
) -> None:
    weights = prepared.loaded.classifier.state_dict()
    before = {name: weight.clone() for name, weight in weights.items()}
    state = torch.get_rng_state()
    first, again, other = judge(prepared), judge(prepared), judge(prepared, seed=2)
    assert np.array_equal(first.probs, again.probs)
    assert not np.array_equal(first.probs, other.probs)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], weight) for name, weight in weights.items())


def test_the_probabilities_are_scikit_learns_by_heads_without_the_fold(
    prepared: PreparedTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_fold, "_rank_depths", lambda *_: [(2, 0.01)])
    found, classifier = judge(prepared), prepared.loaded.classifier
    assert found.depths == (2,)
    features = np.empty(features_shape(classifier, 60), np.float32)
    fill_features(features, classifier, prepared.training.texts, device=CPU, precision="fp32")
    states = features[1] / state_scale(torch.from_numpy(features[1]))
    label_ids = ids_of(prepared)
    inside = leave_out_folds(label_ids, 1).numpy()[:-1]
    assert len(inside) == 5
    for kept in inside:
        model = LogisticRegression(C=0.01, fit_intercept=False, tol=1e-8)
        model.fit(states[kept], label_ids[kept])
        assert found.probs[~kept] == pytest.approx(model.predict_proba(states[~kept]), abs=0.01)


def test_a_label_has_no_say_in_the_probabilities_of_its_own_fold() -> None:
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(size=(60, 8)).astype(np.float32))
    targets = torch.from_numpy(rng.integers(3, size=60))
    inside = leave_out_folds(targets.numpy(), 1)[:-1]
    changed = targets.clone()
    mates = ~inside[0]
    changed[mates] = (changed[mates] + 1) % 3
    first, second = (
        out_of_fold._held_out_logits(states, ids, inside, 3, 0.1) for ids in (targets, changed)
    )
    assert torch.equal(first[mates], second[mates])
    assert not torch.isclose(first[~mates], second[~mates]).all(dim=1).any()


def test_folds_in_several_calls_are_folds_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(size=(60, 8)).astype(np.float32))
    targets = torch.from_numpy(rng.integers(3, size=60))
    inside = leave_out_folds(targets.numpy(), 1)[:-1]
    at_once = out_of_fold._held_out_logits(states, targets, inside, 3, 0.1)
    monkeypatch.setattr(out_of_fold, "_MOST_LOGITS", 60 * 3 * 2)
    assert torch.allclose(
        out_of_fold._held_out_logits(states, targets, inside, 3, 0.1), at_once, atol=1e-5
    )


def test_copies_share_a_fold_and_labels_are_dealt_evenly() -> None:
    label_ids = np.repeat([0, 1], 50)
    copy_of = np.arange(100) // 2 * 2  # two of each
    held_out = ~leave_out_folds(label_ids, 1, copy_of).numpy()
    assert held_out.shape == (6, 100)
    assert np.array_equal(held_out[:5].sum(axis=0), np.ones(100))
    assert not held_out[5].any()
    assert np.array_equal(held_out[:, 0::2], held_out[:, 1::2])
    assert (held_out[:5, :50].sum(axis=1) == 10).all()


def test_a_copy_does_not_vouch_for_a_label(tmp_path: Path) -> None:
    """Random labels, each text twice: only who has seen the copy could know them."""
    rng = np.random.default_rng(0)
    texts = [f"{number:03d}" for number in rng.permutation(1_000)[:100]]
    labels = [("good", "bad")[number] for number in rng.integers(2, size=100)]
    folder = save_decoder(tmp_path / "gpt2")
    twice = prepare(folder, texts * 2, labels * 2)
    ids = ids_of(twice)

    def accuracy(copy_of: NDArray[np.int64]) -> float:
        result = judge(twice, copy_of=copy_of)
        return float(np.mean(result.probs.argmax(axis=1) == ids))

    assert accuracy(np.arange(200)) > 0.75
    assert accuracy(np.arange(200) % 100) < 0.62


def test_texts_beyond_the_sample_pass_once_and_are_judged_alike(
    prepared: PreparedTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_fold, "_rank_depths", lambda *_: [(3, 0.1), (1, 1.0)])
    whole = judge(prepared)
    monkeypatch.setattr(out_of_fold, "num_table_texts", lambda num_labels: 14)
    events: list[Event] = []
    parts = judge(prepared, on_event=events.append)
    assert parts.depths == whole.depths == (3, 1)
    assert parts.probs == pytest.approx(whole.probs, abs=1e-5)
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == sorted(set(done)), "no text passes twice"
    assert len(done) >= 5
    assert events[-1] == Progress("features", 60, 60, "texts")


def test_the_sample_alone_chooses_the_blocks(
    prepared: PreparedTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_fold, "num_table_texts", lambda num_labels: 30)
    events: list[Event] = []
    result = judge(prepared, num_depths=2, on_event=events.append)
    assert len(set(result.depths)) == 2
    assert [e for e in events if isinstance(e, Progress) and e.phase == "probe"] == [
        Progress("probe", depth, 3, "blocks") for depth in (1, 2, 3)
    ]
    assert result.probs.sum(axis=1) == pytest.approx(np.ones(60))


def test_rare_labels_are_judged_too(prepared: PreparedTraining) -> None:
    label_ids = np.zeros(60, dtype=np.int64)
    label_ids[7] = 1
    result = judge(prepared, label_ids=label_ids)
    assert np.isfinite(result.probs).all()
    assert result.probs[7, 1] < 0.5  # nobody who judges it has seen its label


def test_copies_of_one_text_alone_leave_nothing_to_learn_from(prepared: PreparedTraining) -> None:
    result = judge(prepared, copy_of=np.zeros(60, dtype=np.int64))
    assert np.array_equal(result.probs, np.full((60, 2), 0.5))


def test_a_disk_without_room_is_told(
    prepared: PreparedTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: type("U", (), {"free": 10**8})())
    with pytest.raises(ConfigError, match=r"hidden states .* 0\.1 GB are free") as caught:
        judge(prepared)
    assert "TMPDIR" in caught.value.remedy

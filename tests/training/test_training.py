"""The loop: order, dropout, schedule, clipping, the kept epoch, early stopping, repeatability."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR

from families import save_decoder
from lasttoken import ConfigError, TextClassifier, train, validation
from lasttoken.events import EpochEnd, Event, Progress, TimeLeft
from lasttoken.model.batch import Gpt2ClassificationCollator
from lasttoken.training import fit
from lasttoken.training.choosing import PassScores, effective_examples
from lasttoken.training.keeping import end_epoch, one_standard_error_below
from lasttoken.training.optim import make_optimizer, make_schedule
from lasttoken.training.sampler import EpochSampler, epoch_order
from lasttoken.training.state import FitSettings, TrainState
from lasttoken.training.timing import FORWARD_SHARE, MEASURED_STEPS, TimeEstimator

GOOD = ["a fine warm film", "lovely and bright", "good, good, good", "it shines", "a joy"]
BAD = ["a dull cold film", "ugly and dim", "bad, bad, bad", "it sinks", "a chore"]
TEXTS = [text + end for text in GOOD + BAD for end in ("", ".", "!", " again", " today", "...")]
LABELS = ["good"] * 30 + ["bad"] * 30


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_decoder(tmp_path_factory.mktemp("m") / "gpt2", initializer_range=0.02))


def fitted(decoder: str, **settings: object) -> TextClassifier:
    defaults = {"num_epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32"}
    return TextClassifier(decoder, **{**defaults, **settings}).fit(TEXTS, LABELS)


def weights(classifier: TextClassifier) -> dict[str, torch.Tensor]:
    return classifier.loaded_.classifier.state_dict()


def test_training_learns_an_easy_task(decoder: str) -> None:
    classifier = fitted(decoder, num_epochs=4)
    assert np.mean(classifier.predict(TEXTS) == np.array(LABELS)) >= 0.95


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_repeats_bit_for_bit_with_dropout(decoder: str, precision: str) -> None:
    first = weights(fitted(decoder, precision=precision))
    torch.manual_seed(999)  # whatever the global generator was before
    second = weights(fitted(decoder, precision=precision))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_fitting_leaves_the_callers_generator_alone(decoder: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(decoder, num_epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_gives_another_classifier(decoder: str) -> None:
    first, second = weights(fitted(decoder)), weights(fitted(decoder, seed=7))
    assert not torch.equal(first["hf_model.score.weight"], second["hf_model.score.weight"])


def test_dropout_is_at_work_during_training(decoder: str) -> None:
    classifier = fitted(decoder)
    losses = [epoch.train_loss for epoch in classifier.history_]
    without = TextClassifier(
        str(save_decoder(Path(decoder).parent / "dry", initializer_range=0.02, resid_pdrop=0.0,
                         attn_pdrop=0.0, embd_pdrop=0.0)),
        num_epochs=2, batch_size=8, learning_rate=3e-3, precision="fp32",
    ).fit(TEXTS, LABELS)  # fmt: skip
    assert losses != [epoch.train_loss for epoch in without.history_]


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    assert np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=2))
    assert not np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=3))
    assert not np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=2, epoch=2))


def test_an_epoch_holds_every_example_once() -> None:
    batches = list(EpochSampler(10, 4, seed=1, epoch=0))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(index for batch in batches for index in batch) == list(range(10))


def test_the_rate_warms_up_linearly_and_falls_linearly_to_zero() -> None:
    parameter = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(parameter, learning_rate=1.0, weight_decay=0.1)
    schedule = make_schedule(optimizer, num_steps=10, warmup_fraction=0.2)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert schedule.get_last_lr()[0] == 0


def test_the_history_tells_the_rate_of_an_epochs_last_step(decoder: str) -> None:
    first, last = fitted(decoder, learning_rate=1e-3).history_  # 7 steps an epoch, 14 in all
    assert first.learning_rate == pytest.approx(1e-3 * 8 / 14)
    assert last.learning_rate == pytest.approx(1e-3 * 1 / 14)


def test_only_matrices_decay() -> None:
    groups = make_optimizer(
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2)),
        learning_rate=1.0,
        weight_decay=0.1,
    ).param_groups
    shapes = {group["weight_decay"]: [p.ndim for p in group["params"]] for group in groups}
    assert shapes == {0.1: [2], 0.0: [1, 1, 1]}


def test_the_gradient_is_clipped(decoder: str) -> None:
    classifier = fitted(decoder, num_epochs=1)
    loaded = classifier.loaded_
    collate = Gpt2ClassificationCollator(loaded.tokenizer, loaded.classifier.labels, 60)
    batches = [collate([{"text": "a fine warm film", "label": "bad"}])]
    before = {name: t.clone() for name, t in loaded.classifier.state_dict().items()}
    optimizer = torch.optim.SGD(loaded.classifier.parameters(), lr=1.0)
    schedule = ConstantLR(optimizer, factor=1.0)
    train(loaded.classifier, batches, optimizer, schedule, "cpu", max_grad_norm=0.01)
    after = loaded.classifier.state_dict()
    moved = math.sqrt(sum(float((after[n] - before[n]).square().sum()) for n in before))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_validation_changes_nothing_and_unpacks_into_three(decoder: str) -> None:
    classifier = fitted(decoder, num_epochs=1)
    loaded = classifier.loaded_
    collate = Gpt2ClassificationCollator(loaded.tokenizer, loaded.classifier.labels, 60)
    examples = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS)]
    before = {name: t.clone() for name, t in loaded.classifier.state_dict().items()}
    results = [
        validation(loaded.classifier, [collate(examples[:30]), collate(examples[30:])], "cpu"),
        validation(loaded.classifier, [collate(examples)], "cpu"),
    ]
    true_labels, predicted_labels, loss = results[0]
    assert true_labels == loaded.classifier.labels.encode(LABELS).tolist()
    assert [loaded.classifier.labels.labels[i] for i in predicted_labels] == list(
        classifier.predict(TEXTS)
    )
    assert loss == pytest.approx(results[1].loss, rel=1e-6)
    after = loaded.classifier.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def settings_of(**changed: object) -> FitSettings:
    plain = {
        "num_epochs": 1, "batch_size": 8, "gradient_accumulation_steps": 1, "learning_rate": 1.0,
        "weight_decay": 0.0, "warmup_fraction": 0.0, "max_grad_norm": 1.0,
        "early_stopping_patience": None, "trainable": "full", "lora_rank": 16, "lora_alpha": 32.0,
        "lora_dropout": 0.0, "layer_decay": 1.0, "gradient_checkpointing": False,
        "class_weights": "none", "focal_gamma": 0.0, "sampling": "all", "depth": None, "seed": 1,
        "precision": "fp32", "device": torch.device("cpu"),
    }  # fmt: skip
    return FitSettings(**{**plain, **changed})


def row_of(epoch: int, score: float) -> EpochEnd:
    return EpochEnd(
        epoch=epoch, step=epoch, train_loss=0.0, train_accuracy=1.0, validation_loss=0.0,
        validation_accuracy=score, validation_macro_f1=score, learning_rate=0.0, seconds=0.0,
        is_kept=False,
    )  # fmt: skip


def kept_epochs(classifier: TextClassifier, scores: list[float], num_validating: int) -> list[int]:
    """Return the epochs that were to be kept when they ended."""
    state, settings = TrainState(), settings_of(num_epochs=len(scores))
    logits = np.zeros((num_validating, 2), dtype=np.float32)
    model = classifier.loaded_.classifier
    for epoch, score in enumerate(scores, start=1):
        judged = PassScores(score, score, effective_examples(np.array([num_validating // 2] * 2)))
        end_epoch(state, row_of(epoch, score), judged, logits, model, settings)
    assert state.best_metric == max(scores)
    kept = [row.epoch for row in state.history if row.is_kept]
    assert kept[-1] == state.kept_epoch
    return kept


def test_the_latest_epoch_within_one_standard_error_of_the_best_is_kept(decoder: str) -> None:
    classifier = fitted(decoder, num_epochs=1)
    few = [0.58, 0.63, 0.70, 0.66, 0.65, 0.60]  # of 32 examples the error is 0.08
    assert kept_epochs(classifier, few, 32) == [1, 2, 3, 4, 5]
    assert kept_epochs(classifier, few, 1_000) == [1, 2, 3]  # of 1,000 it is 0.014
    slow_decline = [0.70, 0.65, 0.60]  # each within an error of the one before
    assert kept_epochs(classifier, slow_decline, 32) == [1, 2]


def test_the_error_around_a_perfect_score_is_one_wrong_answer() -> None:
    for num_examples in (8, 32, 1_000):
        enough = one_standard_error_below(1.0, num_examples)
        assert (num_examples - 2) / num_examples < enough < (num_examples - 1) / num_examples
    assert one_standard_error_below(0.5, 10_000) == pytest.approx(0.495, abs=1e-5)


def test_a_macro_score_is_known_no_better_than_its_rarest_label() -> None:
    assert effective_examples(np.array([50, 50])) == 100
    assert effective_examples(np.array([9, *[107.6] * 5])) == pytest.approx(228.5, abs=0.1)
    assert effective_examples(np.array([1, 999])) == pytest.approx(4, abs=0.01)
    assert effective_examples(np.array([40, 0])) == 160  # the second label's F1 is 0 for certain
    rng = np.random.default_rng(0)  # the share of right answers of each label, and their mean
    counts = np.array([9, 60, 200])
    means = (rng.binomial(counts, 0.8, size=(200_000, 3)) / counts).mean(axis=1)
    expected = 0.8 * 0.2 / effective_examples(counts)
    assert means.var() == pytest.approx(expected, rel=0.02)


def test_the_kept_weights_are_those_of_the_kept_epoch(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "LITTLE_DATA", 0)  # the start is no rival
    epochs = 4
    # A rate too hot to end well; on which seeds a later epoch is worse depends on the machine.
    runs = (fitted(decoder, num_epochs=epochs, learning_rate=0.05, seed=seed) for seed in range(9))
    classifier = next(run for run in runs if run.kept_epoch_ < epochs)
    kept = classifier.history_[classifier.kept_epoch_ - 1].validation_macro_f1
    parts = TextClassifier(decoder, seed=classifier.seed)  # the same split as `fit` made
    from lasttoken.data.examples import examples_from_python
    from lasttoken.data.splits import set_aside
    from lasttoken.evaluation.metrics import macro_f1
    from lasttoken.events import ignore

    split = set_aside(examples_from_python(TEXTS, LABELS), {"validation": 0.1}, parts.seed, ignore)[
        "validation"
    ]
    labels = classifier.loaded_.classifier.labels
    predicted = labels.encode(classifier.predict([example.text for example in split])).numpy()
    true = labels.encode([str(example.label) for example in split]).numpy()
    assert macro_f1(true, predicted, 2) == pytest.approx(kept)


def test_training_stops_after_patience_epochs_without_a_better_one() -> None:
    history = [row_of(epoch, score) for epoch, score in enumerate([0.5, 0.6, 0.7, 0.69, 0.7], 1)]
    state = TrainState(epoch=5, kept_epoch=5, history=history)  # the third, of equals the first
    assert state.is_at_end(settings_of(num_epochs=9, early_stopping_patience=2))
    assert not state.is_at_end(settings_of(num_epochs=9, early_stopping_patience=3))
    assert not state.is_at_end(settings_of(num_epochs=9))
    assert state.is_at_end(settings_of(num_epochs=5))
    assert not TrainState().is_at_end(settings_of(num_epochs=5, early_stopping_patience=1))


def test_a_loss_that_is_no_number_any_more_stops_the_run(decoder: str) -> None:
    with pytest.raises(ConfigError, match=r"the loss is (nan|inf), training has diverged"):
        fitted(decoder, learning_rate=1e30)


def test_early_stopping_ends_a_run(decoder: str) -> None:
    classifier = fitted(decoder, num_epochs=9, learning_rate=1e-9, early_stopping_patience=1)
    assert len(classifier.history_) == 2


@pytest.mark.parametrize("steps_per_epoch", [1, 2, 12, 40])
def test_the_estimate_counts_the_tokens_that_are_left_however_short_the_epochs(
    monkeypatch: pytest.MonkeyPatch, steps_per_epoch: int
) -> None:
    """Steps of 10 tokens take 2 s each, but 50 s in the warm-up, which does not count."""
    clock = [0.0]
    monkeypatch.setattr("lasttoken.training.timing.time.perf_counter", lambda: clock[0])
    validation_seconds = 50 * FORWARD_SHARE * 2.0 / 10
    events: list[Event] = []
    told_at: list[float] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, TimeLeft):
            told_at.append(clock[0])

    estimator = TimeEstimator(
        train_tokens=10 * steps_per_epoch, num_epochs=30, forward_tokens=30 * 50 + 200,
        steps_per_epoch=steps_per_epoch, on_event=hear,
    )  # fmt: skip
    for _ in range(30):
        for step in range(1, steps_per_epoch + 1):
            clock[0] += 2.0 if clock[0] >= 150 else 50.0
            estimator(Progress("train", step, steps_per_epoch, "steps"))
        clock[0] += validation_seconds
        estimator.finish_validation(50)
    clock[0] += 200 * FORWARD_SHARE * 2.0 / 10  # the test texts
    (told,) = [event for event in events if isinstance(event, TimeLeft)]
    assert events.index(told) == 3 + MEASURED_STEPS
    assert told == TimeLeft(pytest.approx(clock[0] - told_at[0]), MEASURED_STEPS)
    assert estimator.seconds_at_estimate == told_at[0]


def test_events_tell_progress_and_one_end_an_epoch(decoder: str) -> None:
    events: list[Event] = []
    TextClassifier(decoder, num_epochs=2, batch_size=8, precision="fp32").fit(
        TEXTS, LABELS, on_event=events.append
    )
    assert sum(isinstance(event, EpochEnd) for event in events) == 2
    steps = [e for e in events if isinstance(e, Progress) and e.phase == "train"]
    assert (steps[-1].done, steps[-1].total) == (7, 7)

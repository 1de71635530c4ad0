"""Labels that look wrong: planted ones are found, and odd data is survived."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lasttoken.evaluation import label_issues
from lasttoken.evaluation.label_issues import LabelIssues, find_label_issues

NAMES = ("good", "bad", "mixed", "odd")


@pytest.fixture(autouse=True)
def every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_issues, "RESAMPLES", 200)


def planted(
    num_labels: int, rate: float, size: int = 1_000, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return labels of which some are flipped, calibrated probabilities, and who was flipped."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(num_labels, 0.1), size)
    true = (probs.cumsum(axis=1) > rng.random((size, 1))).argmax(axis=1)
    flipped = rng.permutation(size)[: round(rate * size)]
    given = true.copy()
    given[flipped] = (true[flipped] + rng.integers(1, num_labels, len(flipped))) % num_labels
    return given, probs, np.sort(flipped)


def found(label_ids: NDArray[np.int64], probs: NDArray[np.float64], seed: int = 1) -> LabelIssues:
    return find_label_issues(label_ids, probs, NAMES[: probs.shape[1]], seed=seed)


@pytest.mark.parametrize("num_labels", [2, 4])
def test_flipped_labels_are_listed_the_most_suspicious_first(num_labels: int) -> None:
    given, probs, flipped = planted(num_labels, 0.1)
    result = found(given, probs)
    assert result.num_examples == 1_000
    listed = [issue.index for issue in result.issues]
    assert len(set(listed)) == len(listed) > 50
    assert np.isin(listed, flipped).mean() > 0.6
    assert np.isin(listed[:40], flipped).all()
    chances = [issue.label_probability for issue in result.issues]
    assert chances == sorted(chances)
    for issue in result.issues:
        row = probs[issue.index]
        assert issue.label == NAMES[given[issue.index]] != issue.suggested_label
        assert issue.suggested_label == NAMES[row.argmax()]
        assert issue.label_probability == row[given[issue.index]]
        assert issue.suggested_probability == row.max()


def test_the_list_is_as_precise_as_ranking_by_held_out_loss() -> None:
    given, probs, flipped = planted(4, 0.1)
    listed = [issue.index for issue in found(given, probs).issues]
    by_loss = np.argsort(probs[np.arange(1_000), given])[: len(listed)]
    assert np.isin(listed, flipped).mean() >= np.isin(by_loss, flipped).mean()


def test_the_noise_rate_grows_with_the_noise_and_lies_in_its_interval() -> None:
    results = [found(*planted(2, rate)[:2]) for rate in (0.0, 0.1, 0.3)]
    rates = [result.noise_rate for result in results]
    assert rates == sorted(rates)
    assert rates[1] == pytest.approx(0.1, abs=0.05)
    for result in results:
        low, high = result.noise_rate_interval
        assert 0 <= low <= result.noise_rate <= high <= 1
        assert 0 < high - low < 0.1


def test_more_examples_narrow_the_interval() -> None:
    widths = []
    for size in (200, 3_200):
        low, high = found(*planted(2, 0.1, size)[:2]).noise_rate_interval
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)  # the root of 16


def test_the_seed_moves_the_interval_and_nothing_else() -> None:
    given, probs, _ = planted(4, 0.1)
    first, again, other = (found(given, probs, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.issues == other.issues
    assert first.noise_rate == other.noise_rate
    assert first.noise_rate_interval != other.noise_rate_interval


def test_right_labels_of_a_sure_classifier_are_left_alone() -> None:
    given = np.arange(90) % 3
    probs = np.eye(3)[given] * 0.97 + 0.01
    result = found(given, probs)
    assert result.issues == ()
    assert result.noise_rate == 0
    assert result.noise_rate_interval == (0, 0)


def test_a_wrong_label_among_few_examples_is_found() -> None:
    given = np.array([0] * 40 + [1] * 40 + [2] * 3)  # 81: the first of three "mixed"
    probs = np.eye(3)[given] * 0.94 + 0.02
    given[81] = 0
    (issue,) = found(given, probs).issues
    assert (issue.index, issue.label, issue.suggested_label) == (81, "good", "mixed")


def test_a_label_of_one_example_is_survived() -> None:
    given = np.array([0, 1] * 30 + [2])
    probs = np.eye(3)[np.array([0, 1] * 30 + [0])] * 0.94 + 0.02
    result = found(given, probs)
    assert result.num_examples == 61
    assert result.noise_rate <= 0.1


def test_a_label_that_is_never_predicted_is_survived() -> None:
    rng = np.random.default_rng(0)
    given = rng.integers(3, size=300)
    probs = np.column_stack([rng.uniform(0.5, 0.9, 300), np.zeros(300), np.zeros(300)])
    probs[:, 1] = 1 - probs[:, 0]
    assert all(issue.suggested_label != "mixed" for issue in found(given, probs).issues)


def test_a_label_without_an_example_is_survived() -> None:
    given, probs, _ = planted(2, 0.1)
    padded = np.column_stack([probs, np.zeros(len(probs))])
    assert found(given, padded).issues == found(given, probs).issues


def test_the_most_probable_label_is_never_listed() -> None:
    """Of many labels, the most probable one may have little probability."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.full(4, 50.0), 400)  # all near a quarter
    given = probs.argmax(axis=1)
    given[:100] = rng.integers(4, size=100)
    for issue in found(given, probs).issues:
        assert issue.label != issue.suggested_label


def test_one_label_alone_leaves_nothing_to_compare_with() -> None:
    given = np.ones(20, dtype=np.int64)
    probs = np.full((20, 2), 0.5)
    assert found(given, probs) == LabelIssues((), 0.0, (0.0, 0.0), 20)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    found(*planted(4, 0.1)[:2])
    assert capfd.readouterr() == ("", "")

"""Ordinal labels: distances are counted, and agreement is scikit-learn's."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lasttoken.evaluation.ordinal import (
    _of_counts,
    ordinal_difference,
    ordinal_intervals,
    ordinal_scores,
)


@pytest.fixture(autouse=True)
def _every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_every_score_is_scikit_learns_or_scipys(pairs: list[tuple[int, int]]) -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    true, predicted = (np.array(ids) for ids in zip(*pairs, strict=True))
    found = ordinal_scores(true, predicted, 5)
    assert found["mae"] == pytest.approx(mean_absolute_error(true, predicted))
    assert found["within_one"] == pytest.approx(np.mean(np.abs(true - predicted) <= 1))
    assert sum(each["examples"] for each in found["distances"]) == len(pairs)
    assert found["distances"][0]["share"] == pytest.approx((true == predicted).mean())
    if np.ptp(true) > 0 and np.ptp(predicted) > 0:
        kappa = cohen_kappa_score(true, predicted, weights="quadratic", labels=range(5))
        assert found["quadratic_weighted_kappa"] == pytest.approx(kappa)
        assert found["spearman"] == pytest.approx(spearmanr(true, predicted).statistic)
        cells, counts = np.unique(true * 5 + predicted, return_counts=True)
        mae, quick = _of_counts(counts[None], *np.divmod(cells, 5))
        assert (mae[0], quick[0]) == pytest.approx((found["mae"], kappa), abs=1e-12)
    else:
        assert (found["quadratic_weighted_kappa"], found["spearman"]) == (None, None)
    assert json.loads(json.dumps(found)) == found


def test_intervals_hold_their_scores_and_one_example_has_only_wilsons() -> None:
    rng = np.random.default_rng(1)
    true = rng.integers(5, size=300)
    predicted = np.clip(true + rng.integers(-2, 3, size=300), 0, 4)
    found = ordinal_intervals(true, predicted, 5, rng=rng)
    exact = ordinal_scores(true, predicted, 5)
    for name, ends in found.items():
        assert ends is not None
        assert ends[0] < exact[name] < ends[1], name
    alone = ordinal_intervals(true[:1], true[:1], 5, rng=rng)
    assert alone.pop("within_one") == pytest.approx((0.2065, 1.0), abs=1e-3)
    assert set(alone.values()) == {None}


def test_a_difference_says_who_is_nearer() -> None:
    rng = np.random.default_rng(2)
    true = rng.integers(5, size=300)
    near = np.clip(true + rng.integers(-1, 2, size=300), 0, 4)
    found = ordinal_difference(true, near, rng.integers(5, size=300), rng=rng)
    assert found["mae_interval"][0] < found["mae"] < found["mae_interval"][1] < 0
    same = ordinal_difference(true, near, near, rng=rng)
    assert same == {"mae": 0.0, "mae_interval": [0.0, 0.0]}

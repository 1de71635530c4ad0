"""Metrics of numbers: how far the predicted values lie from the true ones.

Pure functions of arrays, in the unit of the data; `r2` and the correlations have none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.intervals import (
    CONFIDENCE,
    Interval,
    correlation_interval,
    drawn_counts,
    fisher_z,
    middle,
    spearman_interval,
)

Numbers = NDArray[np.float64]  # (N,)


@dataclass(frozen=True, slots=True)
class RegressionMetrics:
    """The scores of one predictor on one set of examples with true values.

    Attributes:
        mae: mean absolute error.
        rmse: root of the mean squared error; large errors count more.
        r2: share of the true values' variance that is explained, 1 at best; 0 is what always
            answering their mean would give, and a predictor may be worse. None where all true
            values are equal.
        pearson: linear correlation of predicted and true values, -1 to 1; None where either are
            all equal.
        spearman: likewise of their ranks: whether the order is right.
        median_absolute_error: half of the errors are smaller.
        bias: mean of predicted minus true.
        num_examples: N.
    """

    mae: float
    rmse: float
    r2: float | None
    pearson: float | None
    spearman: float | None
    median_absolute_error: float
    bias: float
    num_examples: int

    def to_dict(self) -> dict[str, object]:
        """Return the form of `metrics.json`."""
        return asdict(self)


def regression_metrics(targets: Numbers, values: Numbers) -> RegressionMetrics:
    """Score predicted values (N,) against true ones (N,), N at least 1.

    Raises:
        ValueError: shapes disagree, there is no example, or a number is not finite.

    Source:
        `sklearn.metrics`: `mean_absolute_error`, `root_mean_squared_error`, `r2_score`,
        `median_absolute_error`; `scipy.stats`: `pearsonr`, `spearmanr`.
    """
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import (
        mean_absolute_error,
        median_absolute_error,
        r2_score,
        root_mean_squared_error,
    )

    if targets.ndim != 1 or targets.shape != values.shape:
        raise ValueError(f"targets {targets.shape} and values {values.shape} do not fit")
    if len(targets) == 0:
        raise ValueError("there is no example to score")
    if not (np.isfinite(targets).all() and np.isfinite(values).all()):
        raise ValueError("targets and values must be finite: NaN or infinity found")
    varies = bool(np.ptp(targets) > 0)
    both_vary = varies and bool(np.ptp(values) > 0)
    return RegressionMetrics(
        mae=float(mean_absolute_error(targets, values)),
        rmse=float(root_mean_squared_error(targets, values)),
        r2=float(r2_score(targets, values)) if varies else None,
        pearson=float(pearsonr(targets, values).statistic) if both_vary else None,
        spearman=float(spearmanr(targets, values).statistic) if both_vary else None,
        median_absolute_error=float(median_absolute_error(targets, values)),
        bias=float((values - targets).mean()),
        num_examples=len(targets),
    )


def regression_intervals(
    targets: Numbers, values: Numbers, *, rng: np.random.Generator
) -> dict[str, Interval | None]:
    """Return the intervals of `RegressionMetrics` by its names; None where nothing can be told.

    Source:
        Bootstrap over examples, the middle 95 %; of Pearson's correlation in Fisher's z, whose
        distribution is nearer to normal. Spearman's: `intervals.spearman_interval`.
    """
    errors = values - targets
    center = targets.mean()  # sums of squares far from zero lose digits
    true, predicted = targets - center, values - center
    columns = np.stack(
        [np.abs(errors), errors, errors**2, true, true**2, predicted, predicted**2,
         true * predicted], axis=1,
    )  # fmt: skip
    each_once = np.ones(len(targets), dtype=np.int64)
    drawn = np.concatenate([draw @ columns for draw in drawn_counts(each_once, rng)])
    mae, bias, mse, m_true, true2, m_pred, pred2, product = (drawn / len(targets)).T
    of_true, of_predicted = true2 - m_true**2, pred2 - m_pred**2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(of_true > 0, 1 - mse / of_true, np.nan)
        pearson = (product - m_true * m_pred) / np.sqrt(of_true * of_predicted)
    exact = regression_metrics(targets, values)
    return {
        "mae": middle(mae),
        "rmse": middle(np.sqrt(mse)),
        "r2": None if exact.r2 is None else middle(r2),
        "pearson": None
        if exact.pearson is None
        else correlation_interval(
            exact.pearson, float(np.std(fisher_z(pearson[np.isfinite(pearson)])))
        ),
        "spearman": spearman_interval(exact.spearman, len(targets)),
        "bias": middle(bias),
    }


@dataclass(frozen=True)
class NumberDifference:
    """What a first predictor's errors are beside a second's on the same examples.

    Attributes:
        mae: of the first minus of the second: below 0 the first is better.
        mae_interval: of that difference.
        rmse: likewise.
        rmse_interval: likewise.
        first_nearer: examples whose true value the first came nearer to.
        second_nearer: likewise.
    """

    mae: float
    mae_interval: Interval
    rmse: float
    rmse_interval: Interval
    first_nearer: int
    second_nearer: int

    def to_dict(self) -> dict[str, object]:
        """Return the form of `metrics.json`."""
        return {
            **asdict(self),
            "mae_interval": list(self.mae_interval),
            "rmse_interval": list(self.rmse_interval),
        }


def number_difference(
    targets: Numbers,
    first: Numbers,
    second: Numbers,
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> NumberDifference:
    """Compare two predictors of the same examples: bootstrap, both scored on the same draws.

    Shapes:
        targets, first, second (N,), N at least 1.
    """
    errors = np.abs(np.stack([first - targets, second - targets], axis=1))  # (N, 2)
    columns = np.hstack([errors, errors**2])
    each_once = np.ones(len(targets), dtype=np.int64)
    drawn = np.concatenate([draw @ columns for draw in drawn_counts(each_once, rng)])

    def differences(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        one, other, one2, other2 = (sums / len(targets)).T
        return np.stack([one - other, np.sqrt(one2) - np.sqrt(other2)], axis=1)  # (R, 2)

    exact = differences(columns.sum(axis=0, keepdims=True))[0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences(drawn), [tail, 1 - tail], axis=0)
    return NumberDifference(
        mae=float(exact[0]),
        mae_interval=(float(low[0]), float(high[0])),
        rmse=float(exact[1]),
        rmse_interval=(float(low[1]), float(high[1])),
        first_nearer=int((errors[:, 0] < errors[:, 1]).sum()),
        second_nearer=int((errors[:, 1] < errors[:, 0]).sum()),
    )

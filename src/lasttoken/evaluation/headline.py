"""The one score that a kind of task is judged by, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Scores = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """The score by which models and baselines of a kind of task are told apart.

    Attributes:
        key: its name in `metrics.json`: of scores, of differences, and with "_interval".
        title: in words.
        sign: 1 if larger is better, -1 if smaller.
        form: how a value is shown.
        lead: how an improvement and the ends of its interval are shown, followed by the rival.
        over: how an improvement, the ends of its interval and the rival are shown beside it.
        counted: what the test examples were, beside the score.
        chance: a difference to what it has of chance, in words.
        second: key of another score that may say the opposite.
        second_title: likewise in words, and what it counts.
        named: what stands before a rival's value, where the value alone would not tell.
    """

    key: str
    title: str
    sign: int
    form: Callable[[float], str]
    lead: Callable[[float, float, float], str]
    over: Callable[[float, float, float, str], str]
    counted: Callable[[Scores], str]
    chance: Callable[[Scores], str]
    second: str
    second_title: str
    named: str = ""

    @property
    def spoken(self) -> str:
        """Return the title for the middle of a sentence."""
        return self.title[0].lower() + self.title[1:]

    def improvement(self, difference: Scores) -> tuple[float, float, float]:
        """Return by how much the first of two is better, and the ends of that; below 0 worse."""
        low, high = difference[f"{self.key}_interval"]
        ends = sorted((self.sign * low, self.sign * high))
        return (self.sign * difference[self.key], ends[0], ends[1])

    def best(self, scored: Mapping[str, Scores]) -> str:
        """Return the name of the best scores, the first of equals."""
        return max(scored, key=lambda name: self.sign * float(scored[name][self.key]))


def share(value: float) -> str:
    """Show a share: 0.912."""
    return f"{value:.3f}"


def number(value: float) -> str:
    """Show a number in the unit of the data, with four digits: 12.35."""
    return f"{value:.4g}"


def points(value: float, low: float, high: float) -> str:
    """Show an improvement of a share."""
    return f"{100 * value:.1f} points ({100 * low:.1f} to {100 * high:.1f}) above"


def smaller(value: float, low: float, high: float) -> str:
    """Show an improvement of an error."""
    return f"{value:.4g} ({low:.4g} to {high:.4g}) below"


def points_over(value: float, low: float, high: float, rival: str) -> str:
    """Show by how much a share is above a rival's, or below."""
    return f"{100 * value:+.1f} points ({100 * low:.1f} to {100 * high:.1f}) over {rival}"


def nearer(value: float, low: float, high: float, rival: str) -> str:
    """Show by how much an error is smaller than a rival's, or larger."""
    return f"{value:+.4g} ({low:.4g} to {high:.4g}) nearer than {rival}"


def equal_classifiers(difference: Scores) -> str:
    """Tell how often two equally good classifiers would differ as much."""
    return f"of two equals, one would lead by as much with probability {difference['p_value']:.2f}"


def holds_zero(difference: Scores) -> str:
    """Tell that the interval of a difference holds zero."""
    return "its 95 % interval holds zero"


def tested(count: int) -> str:
    """Return "1 test example", "2 test examples"."""
    return f"{count:,} test example" + ("s" if count != 1 else "")


ACCURACY = Headline(
    key="accuracy",
    title="Accuracy",
    sign=1,
    form=share,
    lead=points,
    over=points_over,
    counted=lambda test: f"{test['num_correct']:,} of {tested(test['num_examples'])} right",
    chance=equal_classifiers,
    second="macro_f1",
    second_title="Macro F1, which counts rare labels as much as common ones,",
)
MACRO_F1 = Headline(
    key="macro_f1",
    title="Macro F1",
    sign=1,
    form=share,
    lead=points,
    over=points_over,
    counted=lambda test: (
        f"{tested(test['num_examples'])}, all labels right in {test['num_exact']:,}"
    ),
    chance=holds_zero,
    second="micro_f1",
    second_title="Micro F1, which counts common labels more than rare ones,",
    named="macro F1 ",
)
MEAN_ERROR = Headline(
    key="mae",
    title="Mean absolute error",
    sign=-1,
    form=number,
    lead=smaller,
    over=nearer,
    counted=lambda test: (
        tested(test["num_examples"]) + ("" if test["r2"] is None else f", R² {test['r2']:.3f}")
    ),
    chance=holds_zero,
    second="rmse",
    second_title="RMSE, which counts large errors more,",
    named="mean absolute error ",
)

"""The one score that a verdict is about, and the sentences of a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lasttoken.evaluation.baseline import (
    BASELINE_NAMES,
    COMMONEST_SET,
    MAJORITY,
    MEAN,
    TFIDF,
    TFIDF_RIDGE,
)

Scores = Mapping[str, Any]

SHORT_NAMES = {
    TFIDF: "TF-IDF",
    TFIDF_RIDGE: "TF-IDF",
    MAJORITY: "majority",
    COMMONEST_SET: "commonest-set",
    MEAN: "mean",
}
_USE_IT = "Use it instead, or train with more examples, more epochs or a larger model."
_NOTHING_LEARNED = (
    "The model has learned nothing of use yet: check the labels, or train with more examples, "
    "more epochs or another learning rate."
)
ADVICE = {
    TFIDF: _USE_IT,
    TFIDF_RIDGE: _USE_IT,
    MAJORITY: _NOTHING_LEARNED,
    COMMONEST_SET: _NOTHING_LEARNED,
    MEAN: _NOTHING_LEARNED,
}


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
        second: key of another score that may say the opposite.
        second_title: likewise in words, and what it counts.
    """

    key: str
    title: str
    sign: int
    form: Callable[[float], str]
    lead: Callable[[float, float, float], str]
    over: Callable[[float, float, float, str], str]
    counted: Callable[[Scores], str]
    second: str
    second_title: str

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
    second="micro_f1",
    second_title="Micro F1, which counts common labels more than rare ones,",
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
    second="rmse",
    second_title="RMSE, which counts large errors more,",
)


def headline_verdict(metrics: Mapping[str, Any], headline: Headline) -> str:
    """Say how the model's headline score stands beside its baselines', and who wins.

    A baseline that leads or ties is named first; it wins, and advice is given, only where the
    paired interval excludes zero, else the lead is called chance. The second score is told too
    where it says the opposite, and a baseline that could not be made is named with its reason.

    Args:
        metrics: the content of `metrics.json`: "test" and "baselines".
        headline: of the kind of task.
    """
    test, baselines = metrics["test"], metrics["baselines"]
    interval = test["intervals"][headline.key]
    counted = headline.counted(test)
    if interval is not None:
        low, high = map(headline.form, interval)
        counted += f"; 95 % interval {low} to {high}"
    own = headline.form(test[headline.key])
    scored = {name: each for name, each in baselines.items() if headline.key in each}
    sentences = []
    if scored:
        name = headline.best(scored)
        difference = scored[name]["difference"]
        ahead, least, most = headline.improvement(difference)
        is_shown = not least <= 0 <= most
        rival, short = headline.form(scored[name][headline.key]), SHORT_NAMES[name]
        if ahead < 0:
            leads = "wins" if is_shown else "is ahead"
            sentences.append(
                f"The {short} baseline {leads}: {headline.spoken} {rival} against {own} "
                f"({counted})."
            )
        elif ahead == 0:
            sentences.append(
                f"A tie with the {short} baseline: {headline.title} {own} ({counted})."
            )
        else:
            gains = " and ".join(_gains(scored, headline))
            sentences.append(f"{headline.title} {own} ({counted}): {gains}.")
        if ahead * headline.sign * difference[headline.second] < 0:
            sentences.append(
                f"{headline.second_title} says the opposite: "
                f"{headline.form(test[headline.second])} for the model, "
                f"{headline.form(scored[name][headline.second])} for the {short} baseline."
            )
        elif ahead < 0 and is_shown:
            sentences.append(ADVICE[name])
        if ahead != 0 and not is_shown:
            sentences.append("A difference this small may be chance: its 95 % interval holds zero.")
    else:
        sentences.append(f"{headline.title} {own} ({counted}).")
    return " ".join([*sentences, *without_score(baselines, headline.key)])


def without_score(baselines: Mapping[str, Scores], key: str) -> Iterator[str]:
    """Yield a sentence for each baseline that could not be made."""
    for name, each in baselines.items():
        if key not in each:
            title = BASELINE_NAMES[name]
            yield f"{title[0].upper()}{title[1:]} has no score: {each['reason']}."


def _gains(scored: Mapping[str, Scores], headline: Headline) -> Iterator[str]:
    for name, each in scored.items():
        lead = headline.lead(*headline.improvement(each["difference"]))
        yield f"{lead} {BASELINE_NAMES[name]} ({headline.form(each[headline.key])})"

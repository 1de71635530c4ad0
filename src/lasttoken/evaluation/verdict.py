"""The verdict: in a few plain words, whether the model is worth more than its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lasttoken.evaluation.baseline import (
    BASELINE_NAMES,
    COMMONEST_SET,
    MAJORITY,
    MEAN,
    TFIDF,
    TFIDF_RIDGE,
)
from lasttoken.evaluation.headline import ACCURACY, Headline, Scores, share

_SHORT_NAMES = {
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
_ADVICE = {
    TFIDF: _USE_IT,
    TFIDF_RIDGE: _USE_IT,
    MAJORITY: _NOTHING_LEARNED,
    COMMONEST_SET: _NOTHING_LEARNED,
    MEAN: _NOTHING_LEARNED,
}


def verdict(metrics: Mapping[str, Any], headline: Headline) -> str:
    """Say how the model's headline score stands beside its baselines', and who wins.

    A baseline that leads or ties is named first; it wins, and advice is given, only where the
    paired interval excludes zero, else the lead is called chance. The second score is told too
    where it says the opposite; another baseline that the model does not beat is named behind, and
    one that could not be made is named with its reason.

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
        rival, short = headline.form(scored[name][headline.key]), _SHORT_NAMES[name]
        if ahead < 0:
            leads = "wins" if is_shown else "is ahead"
            sentences.append(
                f"The {short} baseline {leads}: {headline.named}{rival} against {own} ({counted})."
            )
        elif ahead == 0:
            sentences.append(
                f"A tie with the {short} baseline: both {headline.named}{own} ({counted})."
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
            sentences.append(_ADVICE[name])
        if ahead != 0 and not is_shown:
            sentences.append(
                f"A difference this small may be chance: {headline.chance(difference)}."
            )
        if ahead <= 0:
            sentences += _no_better(scored, name, headline)
    else:
        sentences.append(f"{headline.title} {own} ({counted}).")
    return " ".join([*sentences, *_without_score(baselines, headline.key)])


def ordinal_verdict(metrics: Mapping[str, Any]) -> str:
    """Say what `verdict` says of accuracy, and how far off answers are."""
    test = metrics["test"]
    interval = test["intervals"]["mae"]
    ends = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return (
        f"{verdict(metrics, ACCURACY)} On average it is {test['mae']:.2f} places off{ends}; "
        f"{share(test['within_one'])} of the answers are at most one place off."
    )


def _without_score(baselines: Mapping[str, Scores], key: str) -> Iterator[str]:
    """Yield a sentence for each baseline that could not be made."""
    for name, each in baselines.items():
        if key not in each:
            title = BASELINE_NAMES[name]
            yield f"{title[0].upper()}{title[1:]} has no score: {each['reason']}."


def _no_better(scored: Mapping[str, Scores], named: str, headline: Headline) -> Iterator[str]:
    """Yield a sentence for each further baseline that the model does not beat."""
    for name, each in scored.items():
        if name != named and headline.improvement(each["difference"])[0] <= 0:
            score = headline.form(each[headline.key])
            yield f"Nor is the model better than {BASELINE_NAMES[name]} ({score})."


def _gains(scored: Mapping[str, Scores], headline: Headline) -> Iterator[str]:
    for name, each in scored.items():
        lead = headline.lead(*headline.improvement(each["difference"]))
        yield f"{lead} {BASELINE_NAMES[name]} ({headline.form(each[headline.key])})"

"""The verdict: in a few plain words, whether the model is worth more than its baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lasttoken.evaluation.baseline import BASELINE_NAMES
from lasttoken.evaluation.calibration import TEMPERATURES
from lasttoken.evaluation.headline import ADVICE, SHORT_NAMES, number, tested, without_score
from lasttoken.evaluation.headline import share as _share

FEW_EXAMPLES = 200  # test examples below which the interval is about 0.1 wide or wider
LEAST_TEMPERATURE, MOST_TEMPERATURE = (1.01 * TEMPERATURES[0], 0.99 * TEMPERATURES[1])
MOST_SLICES = 5  # told one by one


def verdict(metrics: Mapping[str, Any]) -> str:
    """Say how the model's test accuracy stands beside its baselines', and who wins.

    A baseline that leads or ties is named first; it wins, and advice is given, only where the
    paired interval excludes zero, else the lead is called chance. Macro F1 is told too where it
    contradicts accuracy, and a baseline that could not be made is named with its reason.

    Args:
        metrics: the content of `metrics.json`: "test" and "baselines".
    """
    test, baselines = metrics["test"], metrics["baselines"]
    count = test["num_examples"]
    examples = tested(count)
    low, high = test["intervals"]["accuracy"]
    counted = (
        f"{test['num_correct']:,} of {examples} right; 95 % interval {_share(low)} to "
        f"{_share(high)}"
    )
    scored = {name: each for name, each in baselines.items() if "accuracy" in each}
    sentences = []
    if scored:
        # The largest by accuracy; of equals the first.
        name = max(scored, key=lambda each: float(scored[each]["accuracy"]))
        rival = scored[name]
        difference = rival["difference"]
        ahead = difference["only_first_right"] - difference["only_second_right"]
        least, most = difference["accuracy_interval"]
        is_shown = not least <= 0 <= most
        if ahead < 0:
            leads = "wins" if is_shown else "is ahead"
            sentences.append(
                f"The {SHORT_NAMES[name]} baseline {leads}: {_share(rival['accuracy'])} against "
                f"{_share(test['accuracy'])} ({counted})."
            )
        elif ahead == 0:
            sentences.append(
                f"A tie with the {SHORT_NAMES[name]} baseline: both {_share(test['accuracy'])} "
                f"({counted})."
            )
        else:
            gains = " and ".join(_gain(key, each) for key, each in scored.items())
            sentences.append(f"Accuracy {_share(test['accuracy'])} ({counted}): {gains}.")
        if ahead * difference["macro_f1"] < 0:
            sentences.append(
                "Macro F1, which counts rare labels as much as common ones, says the opposite: "
                f"{_share(test['macro_f1'])} for the model, {_share(rival['macro_f1'])} for the "
                f"{SHORT_NAMES[name]} baseline."
            )
        elif ahead < 0 and is_shown:
            sentences.append(ADVICE[name])
        if ahead != 0 and not is_shown:
            sentences.append(
                f"A difference this small may be chance: of two equals, one would lead by as much "
                f"with probability {difference['p_value']:.2f}."
            )
    else:
        sentences.append(f"Accuracy {_share(test['accuracy'])} ({counted}).")
    return " ".join([*sentences, *without_score(baselines, "accuracy")])


def ordinal_verdict(metrics: Mapping[str, Any]) -> str:
    """Say what `verdict` says, and how far off answers are."""
    test = metrics["test"]
    interval = test["intervals"]["mae"]
    ends = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return (
        f"{verdict(metrics)} On average it is {test['mae']:.2f} places off{ends}; "
        f"{_share(test['within_one'])} of the answers are at most one place off."
    )


def caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what to know before the scores are relied on, from the scores themselves."""
    return [
        *_few_examples(metrics, "accuracy", "accuracy", _share),
        *_absent_labels(metrics),
        *_odd_temperature(metrics),
        *_worse_slices(metrics, "accuracy", _share, "accuracy"),
    ]


def set_caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what to know before the scores of label sets are relied on."""
    unfitted = [
        label
        for label, each in metrics["thresholds"].items()
        if each["best_f1"] is None and metrics["test"]["per_label"][label]["support"]
    ]
    found = [
        *_few_examples(metrics, "macro_f1", "macro F1", _share),
        *_absent_labels(metrics),
        *_odd_temperature(metrics),
    ]
    if unfitted:
        found.append(
            f"no threshold was fitted for: {_first(unfitted)}; they are given from a probability "
            "of 0.5 on"
        )
    return [*found, *_worse_slices(metrics, "accuracy", _share, "share of exactly right texts")]


def number_caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what to know before the scores of numbers are relied on."""
    return [
        *_few_examples(metrics, "mae", "mean absolute error", number),
        *_worse_slices(metrics, "mae", number, "mean absolute error"),
    ]


def _few_examples(
    metrics: Mapping[str, Any], key: str, title: str, form: Callable[[float], str]
) -> Iterator[str]:
    test = metrics["test"]
    interval = test["intervals"][key]
    if test["num_examples"] < FEW_EXAMPLES and interval is not None:
        low, high = map(form, interval)
        yield (
            f"only {test['num_examples']:,} test examples: the true {title} may lie anywhere "
            f"from {low} to {high}"
        )


def _absent_labels(metrics: Mapping[str, Any]) -> Iterator[str]:
    per_label = metrics["test"]["per_label"]
    absent = [label for label, each in per_label.items() if each["support"] == 0]
    if absent:
        yield f"no test example of: {_first(absent)}; macro averages count 0 for these"


def _first(labels: Sequence[str]) -> str:
    return ", ".join(labels[:MOST_SLICES]) + (" ..." if len(labels) > MOST_SLICES else "")


def _odd_temperature(metrics: Mapping[str, Any]) -> Iterator[str]:
    temperature = metrics["calibration"]["temperature"]
    if not LEAST_TEMPERATURE < temperature < MOST_TEMPERATURE:
        yield (
            f"the temperature {temperature:.3g} lies at the end of what was tried: something else "
            "is wrong with this model than its calibration"
        )


def _worse_slices(
    metrics: Mapping[str, Any], key: str, form: Callable[[float], str], title: str
) -> Iterator[str]:
    """Yield the slices that are worse than elsewhere, the worst first."""
    sign = -1 if key == "mae" else 1
    worse = [each for each in metrics["slices"] if each["is_worse"]]
    worse.sort(key=lambda each: sign * float(each[key]))
    for each in worse[:MOST_SLICES]:
        yield (
            f"worse than elsewhere where {each['by']} is {each['value']}: {title} "
            f"{form(each[key])} of {each['num_examples']:,} examples, "
            f"{form(each[f'others_{key}'])} of the others"
        )
    if len(worse) > MOST_SLICES:
        yield f"{len(worse) - MOST_SLICES} more groups are worse than elsewhere"


def _gain(name: str, baseline: Mapping[str, Any]) -> str:
    difference = baseline["difference"]
    low, high = difference["accuracy_interval"]
    return (
        f"{100 * difference['accuracy']:.1f} points ({100 * low:.1f} to {100 * high:.1f}) above "
        f"{BASELINE_NAMES[name]} ({_share(baseline['accuracy'])})"
    )

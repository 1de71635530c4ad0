"""The verdict: in a few plain words, whether the model is worth more than its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lasttoken.evaluation.baseline import BASELINE_NAMES, MAJORITY, TFIDF
from lasttoken.evaluation.calibration import TEMPERATURES

FEW_EXAMPLES = 200  # test examples below which the interval is about 0.1 wide or wider
LEAST_TEMPERATURE, MOST_TEMPERATURE = (1.01 * TEMPERATURES[0], 0.99 * TEMPERATURES[1])
MOST_SLICES = 5  # told one by one

_SHORT_NAMES = {TFIDF: "TF-IDF", MAJORITY: "majority"}
_ADVICE = {
    TFIDF: "Use it instead, or train with more examples, more epochs or a larger model.",
    MAJORITY: (
        "The model has learned nothing of use yet: check the labels, or train with more examples, "
        "more epochs or another learning rate."
    ),
}


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
    examples = f"{count:,} test example" + ("s" if count != 1 else "")
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
                f"The {_SHORT_NAMES[name]} baseline {leads}: {_share(rival['accuracy'])} against "
                f"{_share(test['accuracy'])} ({counted})."
            )
        elif ahead == 0:
            sentences.append(
                f"A tie with the {_SHORT_NAMES[name]} baseline: both {_share(test['accuracy'])} "
                f"({counted})."
            )
        else:
            gains = " and ".join(_gain(key, each) for key, each in scored.items())
            sentences.append(f"Accuracy {_share(test['accuracy'])} ({counted}): {gains}.")
        if ahead * difference["macro_f1"] < 0:
            sentences.append(
                "Macro F1, which counts rare labels as much as common ones, says the opposite: "
                f"{_share(test['macro_f1'])} for the model, {_share(rival['macro_f1'])} for the "
                f"{_SHORT_NAMES[name]} baseline."
            )
        elif ahead < 0 and is_shown:
            sentences.append(_ADVICE[name])
        if ahead != 0 and not is_shown:
            sentences.append(
                f"A difference this small may be chance: of two equals, one would lead by as much "
                f"with probability {difference['p_value']:.2f}."
            )
    else:
        sentences.append(f"Accuracy {_share(test['accuracy'])} ({counted}).")
    for name, each in baselines.items():
        if "accuracy" not in each:
            title = BASELINE_NAMES[name]
            sentences.append(f"{title[0].upper()}{title[1:]} has no score: {each['reason']}.")
    return " ".join(sentences)


def caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what to know before the scores are relied on, from the scores themselves."""
    test = metrics["test"]
    found = []
    if test["num_examples"] < FEW_EXAMPLES:
        low, high = test["intervals"]["accuracy"]
        found.append(
            f"only {test['num_examples']:,} test examples: the true accuracy may lie anywhere from "
            f"{_share(low)} to {_share(high)}"
        )
    absent = [label for label, each in test["per_label"].items() if each["support"] == 0]
    if absent:
        shown = ", ".join(absent[:MOST_SLICES]) + (" ..." if len(absent) > MOST_SLICES else "")
        found.append(f"no test example of: {shown}; macro averages count 0 for these")
    if not LEAST_TEMPERATURE < metrics["calibration"]["temperature"] < MOST_TEMPERATURE:
        found.append(
            f"the temperature {metrics['calibration']['temperature']:.3g} lies at the end of what "
            "was tried: something else is wrong with this model than its calibration"
        )
    worse = [each for each in metrics["slices"] if each["is_worse"]]
    worse.sort(key=lambda each: float(each["accuracy"]))
    found += [
        f"worse than elsewhere where {each['by']} is {each['value']}: accuracy "
        f"{_share(each['accuracy'])} of {each['num_examples']:,} examples, "
        f"{_share(each['others_accuracy'])} of the others"
        for each in worse[:MOST_SLICES]
    ]
    if len(worse) > MOST_SLICES:
        found.append(f"{len(worse) - MOST_SLICES} more groups are worse than elsewhere")
    return found


def _gain(name: str, baseline: Mapping[str, Any]) -> str:
    difference = baseline["difference"]
    low, high = difference["accuracy_interval"]
    return (
        f"{100 * difference['accuracy']:.1f} points ({100 * low:.1f} to {100 * high:.1f}) above "
        f"{BASELINE_NAMES[name]} ({_share(baseline['accuracy'])})"
    )


def _share(value: float) -> str:
    return f"{value:.3f}"

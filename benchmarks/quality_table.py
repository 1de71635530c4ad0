"""Makes docs/quality.md of the cells that `python -m benchmarks.quality` keeps.

    python -m benchmarks.quality_table

Scores are means over seeds and then over data sets. A difference is that of two contenders on the
same test examples, with the seeds' mean; its 95 % interval comes from 2,000 draws of the test
examples, the same ones for both and for every seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.measure import ROOT, SMOKE
from benchmarks.quality import cells
from benchmarks.quality.comparisons import (
    Compared,
    Records,
    best_rival,
    difference,
    kept,
    mean_interval,
    mean_of,
    records,
    versus,
)
from benchmarks.quality.contenders import CONTENDERS, TRAINER
from benchmarks.quality.recipes import RECIPES
from benchmarks.quality.scores import Difference
from benchmarks.quality.sets import FEW, SETS, SIZES

PAGE = cells.FOLDER / "quality.md" if SMOKE else ROOT / "docs" / "quality.md"
OURS, THIRD = "lasttoken", "lasttoken-third"
_UP_TO_4000 = (str(FEW), "500", "4000")
_SHOWN_SIZES = {
    str(FEW): f"{FEW} examples a label",
    "500": "500 examples",
    "4000": "4,000 examples",
    "8000": "8,000 examples",
    "all": "All examples",
}
# Must and goal, of scores with all training examples.
_ALL = {
    "rt_polarity": (0.84, 0.88),
    "trec6": (0.955, 0.974),
    "go_emotions": (0.42, 0.48),
    "sms_spam": (0.975, 0.990),
}


def verdict(value: float, must: float, goal: float, *, spoiled: bool = False) -> str:
    """Return "goal", "must" or "MISSED"."""
    if spoiled or value < must:
        return "MISSED"
    return "goal" if value >= goal else "must"


def musts() -> list[str]:
    """Return the rows of the table of musts."""
    rows = ["| | measured | must | goal | |", "| --- " * 5 + "|"]
    for label, name, must, goal, most_time in (
        ("over the tuned Trainer", OURS, 0.5, 1.5, 1.0),
        ("in a third of its seconds", THIRD, None, 0.5, 1 / 3),
    ):
        for shown, sizes in _compared_sizes().items():
            there, ratio = _over_trainer(name, sizes)
            rows.append(_against(f"{shown}, {label}", there, ratio, must, goal, most_time))
    few = [
        Compared(data, f"against {CONTENDERS[rival].shown}", found)
        for data in SETS
        if (rival := best_rival(data))
        and (found := difference(data, str(FEW), OURS, rival)) is not None
    ]
    label = f"{FEW} examples a label, over the best of SetFit, MiniLM + LR, Trainer"
    rows.append(_against(label, few, None, -1.0, 2.0, None))
    for data, (must, goal) in _ALL.items():
        found, metric = records(data, "all", OURS), _metric(data)
        label = f"{data}, {metric}, all examples"
        if found:
            value = mean_of(found, "test")
            shown = f"{value:.4f}"
            rows.append(f"| {label} | {shown} | {must} | {goal} | {verdict(value, must, goal)} |")
        else:
            rows.append(f"| {label} | - | {must} | {goal} | not measured |")
    return rows


def _compared_sizes() -> dict[str, tuple[str, ...]]:
    """Return the sizes up to 4,000 examples, together and each alone, by their names."""
    alone = {f"of these, {_SHOWN_SIZES[size].lower()}": (size,) for size in _UP_TO_4000}
    return {"16 a label, 500 and 4,000 examples": _UP_TO_4000, **alone}


def _over_trainer(name: str, sizes: Sequence[str]) -> tuple[list[Compared], float | None]:
    """Return what a recipe has over the Trainer by set and size, and the mean time ratio."""
    there: list[Compared] = []
    ratios = []
    for size in sizes:
        by_set, ratio = versus(size, name, TRAINER)
        there += [Compared(data, _SHOWN_SIZES[size].lower(), each) for data, each in by_set]
        ratios += [] if ratio is None else [ratio]
    return there, mean(ratios) if ratios else None


def _against(
    label: str,
    there: Sequence[Compared],
    ratio: float | None,
    must: float | None,
    goal: float,
    most_time: float | None,
) -> str:
    """Return the row of a comparison.

    Args:
        label: what is compared.
        there: the differences.
        ratio: of the seconds.
        must: points of the mean, and no data set significantly below; None is a mean that is not
            significantly below.
        goal: points of the mean.
        most_time: most that the ratio may be. None is the comparison with few examples, where the
            must itself allows for being below.
    """
    shown_must = "not below" if must is None else f"{must:+g}"
    if not there:
        return f"| {label} | - | {shown_must} | {goal:+g} | not measured |"
    value = mean(each.difference.points for each in there)
    low, high = mean_interval(there)
    below = [f"{each.data} {each.which}" for each in there if each.difference.is_worse]
    late = most_time is not None and ratio is not None and ratio > most_time
    is_below = high < 0 if must is None else bool(below) and most_time is not None
    counted = "1 set and size" if len(there) == 1 else f"{len(there)} sets and sizes"
    measured = f"{value:+.2f} points ({low:+.2f} to {high:+.2f}), {counted}"
    if ratio is not None:
        measured += f", {ratio:.2f} of its seconds" + (" (too long)" if late else "")
    if below:
        measured += "; significantly below on " + ", ".join(below)
    least = must if must is not None else -float("inf")
    told = verdict(value, least, goal, spoiled=late or is_below)
    return f"| {label} | {measured} | {shown_must} | {goal:+g} | {told} |"


def score_table(size: str) -> list[str]:
    """Return scores of every contender on every data set; seconds of training below them."""
    names = [name for name in CONTENDERS if any(records(data, size, name) for data in SETS)]
    columns = [data for data in SETS if any(records(data, size, name) for name in names)]
    if not names:
        return []
    head = " | ".join(f"{data}<br>{_metric(data)}" for data in columns)
    rows = [f"| | {head} | mean |", "| --- " * (len(columns) + 2) + "|"]
    for name in names:
        found = [records(data, size, name) for data in columns]
        complete = all(found)
        average = f"{100 * mean(mean_of(each, 'test') for each in found):.1f}" if complete else "-"
        rows.append(f"| {CONTENDERS[name].shown} | {' | '.join(map(_cell, found))} | {average} |")
    return rows


def difference_table(size: str, first: str) -> list[str]:
    """Return what a contender has over each other one, by data set."""
    rivals = [
        name
        for name in CONTENDERS
        if name != first and any(difference(data, size, first, name) for data in SETS)
    ]
    columns = [d for d in SETS if any(difference(d, size, first, name) for name in rivals)]
    if not rivals:
        return []
    rows = [
        f"| {CONTENDERS[first].shown} over | {' | '.join(columns)} | mean | seconds |",
        "| --- " * (len(columns) + 3) + "|",
    ]
    for name in rivals:
        there, ratio = versus(size, first, name)
        by_set = dict(there)
        shown = [_difference(by_set.get(data)) for data in columns]
        average = f"{mean(each.points for each in by_set.values()):+.2f}"
        times = f"{ratio:.2f} x" if ratio is not None else "-"
        rows.append(f"| {CONTENDERS[name].shown} | {' | '.join(shown)} | {average} | {times} |")
    return rows


def settings_table() -> list[str]:
    """Return the settings that were used."""
    rows = ["| size | contender | data sets | settings |", "| --- " * 4 + "|"]
    for size in SIZES:
        for name in CONTENDERS:
            used: dict[str, list[str]] = {}
            for data in SETS:
                for record in records(data, size, name).values():
                    words = _spoken(record["settings"])
                    if data not in used.setdefault(words, []):
                        used[words].append(data)
            rows += [
                f"| {size} | {CONTENDERS[name].shown} | {', '.join(sets)} | {words} |"
                for words, sets in used.items()
                if words
            ]
    return rows


def _spoken(settings: Mapping[str, Any]) -> str:
    flat = {**settings, **settings.get("options", {})}
    left_out = ("seed", "options", "style", "precision")
    return ", ".join(f"{key} {value}" for key, value in flat.items() if key not in left_out)


def _metric(data: str) -> str:
    return "macro F1" if SETS[data].metric == "macro_f1" else "accuracy"


def _cell(found: Records) -> str:
    if not found:
        return "-"
    shares = [100 * record["test"] for record in found.values()]
    spread = f" ({min(shares):.1f} to {max(shares):.1f})" if len(shares) > 1 else ""
    return f"{mean(shares):.1f}{spread}, {mean_of(found, 'seconds'):.0f} s"


def _difference(found: Difference | None) -> str:
    if found is None:
        return "-"
    low, high = found.interval
    shown = f"{found.points:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{shown}**" if low > 0 or high < 0 else shown


def page() -> str:
    """Return docs/quality.md."""
    every = [record for found in kept().values() for record in found.values()]
    machines = {_machine(record) for record in every}
    text = [
        "# Quality",
        "",
        "Written by `python -m benchmarks.quality_table` from the cells that `make bench-quality`",
        "keeps in `benchmarks/results/quality/`; how it is measured stands in",
        "[benchmarks/README.md](../benchmarks/README.md#quality).",
        "",
        f"{len(every):,} trainings; {'; '.join(sorted(machines))}.",
        "",
        "## What must be shown",
        "",
        *musts(),
        "",
        "Differences in points, means over seeds and then over sets; in brackets the 95 % interval",
        "of the mean, over test examples drawn again; by how much another training would differ is",
        'not in it. "Not below" is a mean whose interval does not end below 0; data sets on which',
        "the difference alone is significantly below 0 are named all the same.",
    ]
    for size in SIZES:
        scores = score_table(size)
        if not scores:
            continue
        text += [
            "",
            f"## {_SHOWN_SIZES[size]}",
            "",
            "Test score in percent (least to most over seeds), seconds of training.",
            "",
            *scores,
        ]
        for name in RECIPES:
            differences = difference_table(size, name)
            if differences:
                text += ["", *differences]
        text += [
            "",
            "Points over each contender with the 95 % interval; bold where it leaves out 0.",
        ]
    text += ["", "## Settings", "", *settings_table()]
    return "\n".join(text) + "\n"


def _machine(record: Mapping[str, Any]) -> str:
    features = ", ".join(record["machine"]["cpu_features"])
    return f"{record['machine']['processor']}, {record['threads']} threads ({features})"


def main(arguments: Iterable[str] | None = None) -> None:
    """Write the page and print the musts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="to write")
    options = parser.parse_args(None if arguments is None else list(arguments))
    options.page.write_text(page(), encoding="utf-8")
    print("\n".join(musts()))
    print(f"written: {options.page}")


if __name__ == "__main__":
    main()

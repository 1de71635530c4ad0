"""What the kept cells say: one contender beside another on the same test examples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.quality import cells
from benchmarks.quality.contenders import TRAINER
from benchmarks.quality.scores import Difference, paired, unpacked
from benchmarks.quality.sets import FEW, SETS

# Rivals with few examples; the best of them on each data set counts.
_FEW_RIVALS = ("setfit", "minilm-lr", TRAINER)

Records = dict[int, dict[str, Any]]  # by seed


@cache
def kept() -> dict[tuple[str, str, str], Records]:
    """Return the final records of each data set, size and contender."""
    found: dict[tuple[str, str, str], Records] = {}
    for path in sorted(cells.FOLDER.glob("*/*-seed*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        key = (record["data"], record["size"], record["contender"])
        found.setdefault(key, {})[record["seed"]] = record
    return found


def records(data: str, size: str, contender: str) -> Records:
    """Return a contender's records by seed; none where it did not run."""
    return kept().get((data, size, contender), {})


@cache
def difference(data: str, size: str, first: str, second: str) -> Difference | None:
    """Return what the first contender has over the second, over the seeds that both have."""
    one, other = records(data, size, first), records(data, size, second)
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    path = cells.truth_path(data)
    if not path.is_file():
        command = "python -m benchmarks.quality FOLDER --plan"
        raise SystemExit(f"{path} is missing, the true labels of {data}; {command} writes it")
    truth = json.loads(path.read_text(encoding="utf-8"))
    used = [each[seed]["test_sha256"] for each in (one, other) for seed in seeds]
    if set(used) != {truth["test_sha256"]}:
        raise SystemExit(f"{data} {size}: {first} and {second} answered different test examples")
    num_labels = len(truth["labels"])
    answers = [
        [unpacked(each[seed]["predicted"], num_labels) for seed in seeds] for each in (one, other)
    ]
    return paired(SETS[data].metric, unpacked(truth["truth"], num_labels), *answers)


def mean_of(found: Mapping[int, Mapping[str, Any]], key: str) -> float:
    """Return the mean over seeds."""
    return mean(record[key] for record in found.values())


def time_ratio(data: str, size: str, first: str, second: str) -> float | None:
    """Return seconds of the first over seconds of the second, over the seeds that both have."""
    one, other = records(data, size, first), records(data, size, second)
    seeds = one.keys() & other.keys()
    if not seeds:
        return None
    return sum(one[s]["seconds"] for s in seeds) / sum(other[s]["seconds"] for s in seeds)


class Compared(NamedTuple):
    """What a contender has over another on a data set.

    Attributes:
        data: the set.
        which: of its comparisons, in words: the size, or the rival.
        difference: see there.
    """

    data: str
    which: str
    difference: Difference


def mean_interval(compared: Sequence[Compared]) -> tuple[float, float]:
    """Return the 95 % interval of the mean difference.

    Over test examples drawn again; by how much another training would differ is not in it. Data
    sets are independent of each other; sizes of one share their test examples, and are taken to err
    together, which is the widest that they can.
    """
    widths: dict[str, float] = {}
    for each in compared:
        low, high = each.difference.interval
        widths[each.data] = widths.get(each.data, 0.0) + (high - low) / 2
    half = math.hypot(*widths.values()) / len(compared)
    middle = mean(each.difference.points for each in compared)
    return middle - half, middle + half


def versus(size: str, first: str, second: str) -> tuple[list[tuple[str, Difference]], float | None]:
    """Return the difference on each data set, and the mean time ratio."""
    found = [(data, difference(data, size, first, second)) for data in SETS]
    there = [(data, each) for data, each in found if each is not None]
    ratios = [ratio for data, _ in there if (ratio := time_ratio(data, size, first, second))]
    return there, mean(ratios) if ratios else None


def best_rival(data: str) -> str | None:
    """Return the best of the rivals with few examples, by test score: the hardest comparison."""
    size = str(FEW)
    there = [name for name in _FEW_RIVALS if records(data, size, name)]
    return max(there, key=lambda name: mean_of(records(data, size, name), "test"), default=None)

"""Data sets, and the subsets of them that everyone trains on.

Training subsets are drawn by seed and label. Nobody gets more validation examples than training
examples, drawn likewise: a classifier of 32 examples that was tuned on a thousand is no small one.
Test examples are always all there are.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import SCRATCH, SMOKE

SINGLE, MULTI = "single-label", "multi-label"
SEPARATOR = "|"
REVIEWS = "movie-reviews"
FEW = 16  # examples a label
SIZES = ("16", "500", "4000", "8000", "all")
_SPLIT_SEED = 123  # of the movie reviews' validation examples: no seed of a cell moves them
_SMOKE_EXAMPLES = 48


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        name: of its folder; "movie-reviews" is the package's sample.
        task: "single-label" or "multi-label".
        metric: "accuracy" or "macro_f1".
        sizes: of training subsets.
        one_seed: sizes that run with the first seed only.
    """

    name: str
    metric: str = "accuracy"
    task: str = SINGLE
    sizes: tuple[str, ...] = ("16", "500", "4000", "all")
    one_seed: tuple[str, ...] = ("4000", "8000", "all")


SETS = {
    each.name: each
    for each in (
        DataSet("rt_polarity", sizes=SIZES),
        DataSet("trec6"),
        DataSet("sms_spam", metric="macro_f1"),
        DataSet("go_emotions", metric="macro_f1", task=MULTI),
        DataSet(REVIEWS),
    )
}


@dataclass(frozen=True)
class Split:
    """Texts and their labels as written: "joy", or "anger|joy" of a multi-label set."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def part(self, places: Sequence[int]) -> Split:
        """Return these examples."""
        return Split(*(tuple(values[i] for i in places) for values in (self.texts, self.labels)))


def is_there(name: str, folder: Path) -> bool:
    """Return whether a data set can be read."""
    return name == REVIEWS or (folder / name).is_dir()


@cache
def read_set(name: str, folder: Path) -> dict[str, Split]:
    """Return "train", "validation" and "test" of a data set.

    Raises:
        OSError: the folder does not hold it.
    """
    if name == REVIEWS:
        return _movie_reviews()
    column = "labels" if SETS[name].task == MULTI else "label"
    splits = {}
    for part in ("train", "validation", "test"):
        with (folder / name / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        texts, labels = ([row[key] for row in rows] for key in ("text", column))
        splits[part] = Split(tuple(texts), tuple(canonical(label) for label in labels))
    return splits


def canonical(label: str) -> str:
    """Return distinct labels in order."""
    return SEPARATOR.join(sorted(set(label.split(SEPARATOR))))


def label_names(name: str, folder: Path) -> list[str]:
    """Return a data set's labels in the order of their ids."""
    written = read_set(name, folder)["train"].labels
    return sorted({part for label in written for part in label.split(SEPARATOR)} - {""})


@cache
def draw(name: str, size: str, seed: int, folder: Path) -> dict[str, Split]:
    """Return what the contenders of a cell get: "train", "validation" and "test"."""
    splits = dict(read_set(name, folder))
    rng = np.random.default_rng([seed, SIZES.index(size)])
    for part in ("train", "validation"):
        if size == str(FEW):
            splits[part] = splits[part].part(few_a_label(splits[part].labels, FEW, rng))
        elif size != "all":
            limit = min(int(size), len(splits["train"].texts))
            splits[part] = splits[part].part(stratified(splits[part].labels, limit, seed))
    if SMOKE:
        for part, split in splits.items():
            drawn_by = _SPLIT_SEED if part == "test" else seed
            splits[part] = split.part(stratified(split.labels, _SMOKE_EXAMPLES, drawn_by))
    return splits


def few_a_label(labels: Sequence[str], count: int, rng: np.random.Generator) -> list[int]:
    """Return places of as few examples as give each label `count`, or all there are of it.

    Labels are served from the rarest to the commonest; an example of several labels counts for
    each. So single labels get `count` exactly, and in a multi-label set a common label more.
    """
    parts = [label.split(SEPARATOR) for label in labels]
    frequency = Counter(part for each in parts for part in each)
    order = rng.permutation(len(labels)).tolist()
    chosen: set[int] = set()
    have: Counter[str] = Counter()
    for label in sorted(frequency, key=lambda label: (frequency[label], label)):
        for place in order:
            if have[label] >= count:
                break
            if label in parts[place] and place not in chosen:
                chosen.add(place)
                have.update(parts[place])
    return sorted(chosen)


def stratified(labels: Sequence[str], limit: int, seed: int) -> list[int]:
    """Return places of at most `limit` examples, at least one of every label, the rest by share.

    An example of several labels is drawn by its rarest one.
    """
    from lasttoken.data.examples import Example
    from lasttoken.data.stratify import limit_examples

    if limit >= len(labels):
        return list(range(len(labels)))
    frequency = Counter(part for label in labels for part in label.split(SEPARATOR))
    drawn_by = [
        min(label.split(SEPARATOR), key=lambda part: (frequency[part], part)) for label in labels
    ]
    examples = tuple(Example("", label, row=place) for place, label in enumerate(drawn_by))
    return [example.row for example in limit_examples(examples, limit, seed, lambda _: None)]


def write_texts(name: str, size: str, seed: int, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write a cell's texts for its contender; returns the file, and the counts for the record."""
    splits = draw(name, size, seed, folder)
    path = SCRATCH / "texts" / f"quality-{name}-{size}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        part: {"texts": split.texts, "labels": split.labels} for part, split in splits.items()
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    facts = {part: len(split.texts) for part, split in splits.items()}
    return path, {"examples": facts, "train_sha256": checksum(splits["train"])}


def checksum(split: Split) -> str:
    """Return the start of a split's SHA-256: whether two cells used the same examples."""
    return hashlib.sha256(json.dumps([split.texts, split.labels]).encode()).hexdigest()[:16]


def _movie_reviews() -> dict[str, Split]:
    from lasttoken.data.movie_reviews import read_movie_reviews
    from lasttoken.data.splits import set_aside

    content = read_movie_reviews()
    aside = set_aside(content["train"], {"validation": 0.1}, _SPLIT_SEED, lambda _: None)
    parts = {**aside, "test": content["test"]}
    return {
        name: Split(
            tuple(example.text for example in examples),
            tuple(str(example.label) for example in examples),
        )
        for name, examples in parts.items()
    }

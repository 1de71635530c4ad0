"""Splits of sets and numbers: every label in training, and parts that resemble the whole."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lasttoken.data.examples import Example
from lasttoken.data.splits import split_examples
from lasttoken.data.stratify import limit_examples, set_aside
from lasttoken.data.tasks import Task
from lasttoken.errors import DatasetError
from lasttoken.events import ignore


def sets_of(seed: int, num_texts: int = 200) -> tuple[Example, ...]:
    """Texts with sets of labels, some rare and never alone, some empty."""
    chance = random.Random(seed)
    common = ["a", "b", "c"]
    examples = []
    for number in range(num_texts):
        names = [name for name in common if chance.random() < 0.4]
        names += [f"rare-{n}" for n in range(4) if number % 50 == n]
        names += ["companion"] if number % 50 < 4 else []
        examples.append(Example(f"text {number}", "|".join(sorted(names)), row=number + 1))
    return tuple(examples)


@pytest.mark.parametrize("seed", range(5))
def test_training_has_every_label_of_any_set(seed: int) -> None:
    task, examples = Task("multi_label"), sets_of(seed)
    parts = set_aside(examples, {"test": 0.2, "validation": 0.2}, seed, ignore, task)
    assert sorted(e.row for part in parts.values() for e in part) == list(range(1, 201))
    everything = {name for example in examples for name in task.names(str(example.label))}
    limited = limit_examples(parts["train"], 12, seed, ignore, task)
    assert len(limited) == 12
    for kept in (parts["train"], limited):
        assert {name for e in kept for name in task.names(str(e.label))} == everything
    for name in ("a", "b", "c"):
        shares = [
            np.mean([name in task.names(str(e.label)) for e in part]) for part in parts.values()
        ]
        assert max(shares) - min(shares) < 0.3


def test_too_small_a_limit_for_the_labels_of_sets_is_refused() -> None:
    examples = tuple(Example(f"text {n}", f"common|label-{n % 9}") for n in range(90))
    with pytest.raises(DatasetError, match=r"--limit 8: fewer examples than the 9 labels"):
        limit_examples(examples, 8, 1, ignore, Task("multi_label"))


@pytest.mark.parametrize("num_texts", [12, 40, 1000])
def test_numbers_are_drawn_from_ranges_that_hold_equally_many(num_texts: int) -> None:
    chance = random.Random(1)
    examples = tuple(Example(f"text {n}", repr(chance.gauss(0, 1))) for n in range(num_texts))
    task = Task("regression")
    parts = set_aside(examples, {"test": 0.2, "validation": 0.2}, 1, ignore, task)
    assert [len(part) for part in parts.values()] == [round(num_texts * 0.2)] * 2 + [
        num_texts - 2 * round(num_texts * 0.2)
    ]
    means = [np.mean([float(str(e.label)) for e in part]) for part in parts.values()]
    assert max(means) - min(means) < (1.5 if num_texts < 100 else 0.1)
    assert len(limit_examples(examples, 5, 1, ignore, task)) == 5


def test_a_label_of_a_set_that_training_has_not_is_told_with_its_place() -> None:
    train = (Example("one", "a|b"), Example("two", ""), Example("three", "b"))
    test = (Example("four", "a|new", "test.csv", 7),)
    with pytest.raises(DatasetError) as error:
        split_examples(
            {"train": train, "validation": train, "test": test}, seed=1, read_other=no_file_is_read,
            task=Task("multi_label"),
        )  # fmt: skip
    assert error.value.found.startswith(
        "label 'new' of 1 test examples is unknown to training; first in test.csv, row 7"
    )


def no_file_is_read(source: str, split: str) -> tuple[Example, ...]:
    raise AssertionError

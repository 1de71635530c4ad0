"""Settings of lasttoken in the quality bench: one named recipe a contender.

A recipe turns measured properties of the training examples into arguments of `TextClassifier`.
Add a function to `RECIPES`, and `--contenders NAME` runs it; a cell keeps the arguments it was
made with, and is run again when its recipe gives others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lasttoken.training.defaults import (
    EXAMPLES_OF_ALL_BLOCKS,
    default_batch_size,
    default_depth,
    default_num_epochs,
)


@dataclass(frozen=True)
class Facts:
    """What a recipe may look at: never a data set's name.

    Attributes:
        task: "single-label" or "multi-label".
        num_examples: to train on.
        num_labels: C.
        num_blocks: of the model.
        fewest: examples of the rarest label.
        trainer: settings and seconds of the tuned Trainer's run of the same cell; None unless the
            recipe is in `NEEDS_TRAINER`.
    """

    task: str
    num_examples: int
    num_labels: int
    num_blocks: int
    fewest: int
    trainer: dict[str, Any] | None = None


Recipe = Callable[[Facts], dict[str, Any]]


def standard(facts: Facts) -> dict[str, Any]:
    """Return the package's defaults as numbers, for the plan."""
    depth = default_depth(facts.num_examples, facts.num_blocks)
    return {
        "num_epochs": default_num_epochs(facts.num_examples),
        "batch_size": default_batch_size(facts.num_examples),
        "learning_rate": None,  # by the model's width
        "depth": depth if facts.task == "single-label" else facts.num_blocks,
    }


def other_depth(facts: Facts) -> dict[str, Any]:
    """Return the defaults at the depth they did not take: all blocks, or two thirds of them."""
    options = standard(facts)
    is_cut = options["depth"] < facts.num_blocks
    return {**options, "depth": facts.num_blocks if is_cut else round(facts.num_blocks * 2 / 3)}


def third(facts: Facts) -> dict[str, Any]:
    """Return what should take a third of the Trainer's seconds: fewer blocks, fewer epochs.

    Two thirds of the blocks take two thirds of the time, and a step of ours is 1.3 times as fast.
    One epoch of few examples is few steps: half a batch gives twice as many.
    """
    options = standard(facts)
    assert facts.trainer is not None
    epochs = max(1, int(facts.trainer["epochs"] / 3 * 1.3 * 1.5))
    if epochs == 1 and facts.num_examples < EXAMPLES_OF_ALL_BLOCKS:
        options["batch_size"] //= 2
    return {**options, "num_epochs": epochs, "depth": round(facts.num_blocks * 2 / 3)}


RECIPES: dict[str, Recipe] = {
    "lasttoken": standard,
    "lasttoken-other-depth": other_depth,
    "lasttoken-third": third,
}
NEEDS_TRAINER = ("lasttoken-third",)

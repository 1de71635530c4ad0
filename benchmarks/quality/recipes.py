"""Settings of lasttoken in the quality bench: one named recipe a contender.

A recipe turns measured properties of the training examples into arguments of `TextClassifier`.
Add a function to `RECIPES`, and `--contenders NAME` runs it; a cell keeps the arguments it was
made with, and is run again when its recipe gives others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lasttoken.training.defaults import default_batch_size, default_num_epochs


@dataclass(frozen=True)
class Facts:
    """What a recipe may look at: never a data set's name.

    Attributes:
        task: "single-label" or "multi-label".
        num_examples: to train on.
        num_validating: examples that choose the epoch.
        num_labels: C.
        num_blocks: of the model.
        fewest: examples of the rarest label.
        trainer: settings and seconds of the tuned Trainer's run of the same cell; None unless the
            recipe is in `NEEDS_TRAINER`.
    """

    task: str
    num_examples: int
    num_validating: int
    num_labels: int
    num_blocks: int
    fewest: int
    trainer: dict[str, Any] | None = None


_FEW_EPOCHS = 4  # of the Trainer; with 16 examples a label it makes ten

# A step is three passes through a block, and takes us so much less than the Trainer.
_STEP = 3.0
_SPEEDUP = 1.3

Recipe = Callable[[Facts], dict[str, Any]]


def standard(facts: Facts) -> dict[str, Any]:
    """Return the package's defaults as numbers, for the plan."""
    return {
        "num_epochs": default_num_epochs(facts.num_examples),
        "batch_size": default_batch_size(facts.num_examples),
        "learning_rate": None,  # by the model's width
        "depth": facts.num_blocks,
    }


def third(facts: Facts) -> dict[str, Any]:
    """Return what should take a third of the Trainer's seconds: fewer epochs, or fewer blocks.

    A third of few epochs is less than one. There the last K of d blocks learn alone, and what the
    others give is computed once. With v validation examples for each of training, the passes of an
    example through a block are

        Trainer, B blocks   E epochs x B x (3 + v)
        ours                d x (1 + v) until the first step, e epochs x K x (3 / 1.3 + v)
    """
    options, blocks = standard(facts), facts.num_blocks
    assert facts.trainer is not None
    epochs = int(facts.trainer["epochs"])
    if epochs > _FEW_EPOCHS:
        return {**options, "num_epochs": int(epochs / 3 * _SPEEDUP)}
    num_epochs, depth = max(2, epochs * 3 // 4), round(blocks * 3 / 5)
    share = facts.num_validating / facts.num_examples
    passes = epochs * blocks * (_STEP + share) / 3 - depth * (1 + share)
    learning = max(1, round(passes / (num_epochs * (_STEP / _SPEEDUP + share))))
    how = {"num_epochs": num_epochs, "depth": depth, "trainable": f"last-{learning}"}
    return {**options, **how}


RECIPES: dict[str, Recipe] = {
    "lasttoken": standard,
    "lasttoken-third": third,
}
NEEDS_TRAINER = ("lasttoken-third",)

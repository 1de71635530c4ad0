"""What goes into training, what the loop changes, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.evaluation.decisions import Decisions
from lasttoken.events import EpochEnd
from lasttoken.model.device import Precision
from lasttoken.model.lora import Adapter, LoraShape
from lasttoken.settings import (
    Sampling,
    Trainable,
    check_learning,
    check_ranges,
    parse_depth,
    parse_trainable,
)
from lasttoken.training.passes import PassSoFar
from lasttoken.training.probe_heads import ProbeTable

StartingHead = Literal["fitted", "own"]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How weights are updated; each field is explained in `config.TrainConfig`."""

    num_epochs: int
    batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float | None
    weight_decay: float
    warmup_fraction: float
    max_grad_norm: float
    early_stopping_patience: int | None
    trainable: str
    lora_rank: int
    lora_alpha: float
    lora_dropout: float
    class_weights: str | Mapping[str, float]
    focal_gamma: float
    sampling: Sampling
    layer_decay: float
    gradient_checkpointing: bool
    depth: int | str | None
    seed: int
    precision: Precision
    device: torch.device

    def __post_init__(self) -> None:
        """Check every value that could train nothing or never end.

        Raises:
            ConfigError: at least one value is out of its range.
        """
        check_ranges(
            self,
            positive=(
                "num_epochs", "batch_size", "gradient_accumulation_steps", "learning_rate",
                "max_grad_norm", "early_stopping_patience", "lora_rank", "lora_alpha",
                "layer_decay",
            ),
            not_negative=("weight_decay", "warmup_fraction", "lora_dropout", "focal_gamma"),
            below_one=("warmup_fraction", "lora_dropout"),
            at_most_one=("layer_decay",),
            seeds=("seed",),
        )  # fmt: skip
        check_learning(self)
        parse_depth(self.depth)

    @property
    def peak_rate(self) -> float:
        """Return the learning rate, which is known once the model is."""
        if self.learning_rate is None:
            raise ValueError("the learning rate is settled by prepare_training")
        return self.learning_rate

    @property
    def learns(self) -> Trainable:
        """Return which part of the model learns."""
        return parse_trainable(self.trainable)

    @property
    def lora_shape(self) -> LoraShape:
        """Return the form of the adapters, if adapters learn."""
        return LoraShape(self.lora_rank, self.lora_alpha, self.lora_dropout)

    @property
    def keeps(self) -> int | Literal["auto"] | None:
        """Return how many blocks are kept; None is all."""
        return parse_depth(self.depth)


@dataclass
class TrainState:
    """All that the loop over epochs changes, beside weights and optimizer.

    Attributes:
        epoch: epochs finished.
        step: optimizer steps taken.
        kept_epoch: counted from 1; 0 before the first, or while none is as good as the start.
        best_metric: the highest `EpochEnd.score` so far, or that of the start.
        history: the numbers of every finished epoch.
        kept_weights: what training changes, as it was after the kept epoch, on the CPU; None while
            the model holds it itself.
        kept_logits: of the validation examples after the kept epoch, (N, C).
        kept_checkpoint: that holds the kept epoch's weights; None if none does.
        starting_head: (C, H), what the head was before the first step while that is to be
            kept; the other weights were the model's own then. None where the start is no rival.
        so_far: what the epoch at hand has given.
        epoch_started: when, by `time.perf_counter`; of a resumed epoch earlier by the seconds that
            it had taken.
    """

    epoch: int = 0
    step: int = 0
    kept_epoch: int = 0
    best_metric: float = float("-inf")
    history: list[EpochEnd] = field(default_factory=list)
    kept_weights: Mapping[str, Tensor] | None = None
    kept_logits: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0), dtype=np.float32)
    )
    kept_checkpoint: str | None = None
    starting_head: Tensor | None = None
    so_far: PassSoFar = field(default_factory=PassSoFar)
    epoch_started: float = field(default_factory=time.perf_counter)

    def is_at_end(self, settings: FitSettings) -> bool:
        """Return whether all epochs are done, or enough went by without a better one."""
        patience = settings.early_stopping_patience
        if patience is not None and self.history:
            best = max(self.history, key=lambda row: row.score)  # of equals the first
            if self.epoch - best.epoch >= patience:
                return True
        return self.epoch >= settings.num_epochs


@dataclass(frozen=True)
class Extent:
    """How much of the model is kept, and how much of that learns.

    Attributes:
        depth: blocks that are kept.
        num_blocks: blocks that the model had.
        num_weights: of the model as it is saved.
        num_trainable_weights: of these, how many training changes.
        starting_head: what the head is before the first step: "fitted" (on the states of training
            examples), or "own" (it came with the model).
        probe_table: what a head reads behind each of the model's blocks, or None if nobody asked.
    """

    depth: int
    num_blocks: int
    num_weights: int
    num_trainable_weights: int
    starting_head: StartingHead
    probe_table: ProbeTable | None = None


@dataclass(frozen=True)
class FitResult:
    """What training gave; the classifier holds the weights of `kept_epoch`.

    Attributes:
        extent: how much of the model was kept and trained.
        history: one entry an epoch.
        kept_epoch: counted from 1; 0: no epoch was as good as the start.
        validation_logits: (N, C) of the validation examples, in their order, at `kept_epoch`.
        decisions: fitted on them; the head and these logits contain the temperature.
        num_steps: optimizer steps taken.
        stopped_early: True if early stopping ended training.
        estimated_seconds: the estimate of the time left, given after some measured steps, or None.
        seconds_at_estimate: wall seconds since the start of training when it was given, or None.
        adapter: what adapters learned, and the classifier's weights contain; None without them.
    """

    extent: Extent
    history: tuple[EpochEnd, ...]
    kept_epoch: int
    validation_logits: NDArray[np.float32]
    num_steps: int
    stopped_early: bool
    estimated_seconds: float | None
    seconds_at_estimate: float | None
    decisions: Decisions = field(default_factory=Decisions)
    adapter: Adapter | None = None

"""What `TextClassifier` is made with: its parameters and defaults, as scikit-learn reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import BaseEstimator

from lasttoken.config import DEFAULT_MODEL
from lasttoken.data.written import SEPARATOR
from lasttoken.template import LongTexts


class Parameters(BaseEstimator):
    """The parameters of `TextClassifier`, which explains them."""

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        task: str = "single-label",
        label_separator: str = SEPARATOR,
        label_order: Sequence[str] | None = None,
        num_epochs: int | None = None,
        batch_size: int | None = None,
        gradient_accumulation_steps: int = 1,
        learning_rate: float | None = None,
        weight_decay: float = 0.0,
        warmup_fraction: float = 0.0,
        max_grad_norm: float = 1.0,
        early_stopping_patience: int | None = None,
        validation_fraction: float = 0.1,
        trainable: str = "full",
        lora_rank: int = 16,
        lora_alpha: float = 32.0,
        lora_dropout: float = 0.0,
        class_weights: str | Mapping[str, float] = "none",
        focal_gamma: float = 0.0,
        sampling: str = "all",
        layer_decay: float = 1.0,
        gradient_checkpointing: bool = False,
        depth: int | str | None = None,
        max_length: int | None = None,
        template: str | None = None,
        long: LongTexts = "cut-end",
        window_overlap: int | None = None,
        fix_text: bool = False,
        seed: int = 123,
        precision: str = "auto",
        device: str = "auto",
    ) -> None:
        self.model = model
        self.task = task
        self.label_separator = label_separator
        self.label_order = label_order
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.max_grad_norm = max_grad_norm
        self.early_stopping_patience = early_stopping_patience
        self.validation_fraction = validation_fraction
        self.trainable = trainable
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.class_weights = class_weights
        self.focal_gamma = focal_gamma
        self.sampling = sampling
        self.layer_decay = layer_decay
        self.gradient_checkpointing = gradient_checkpointing
        self.depth = depth
        self.max_length = max_length
        self.template = template
        self.long = long
        self.window_overlap = window_overlap
        self.fix_text = fix_text
        self.seed = seed
        self.precision = precision
        self.device = device

    def plain_params(self) -> dict[str, Any]:
        """Return the parameters as JSON holds them: labels are strings, of whatever type given."""
        params: dict[str, Any] = self.get_params()
        if isinstance(self.class_weights, Mapping):
            weights = self.class_weights.items()
            params["class_weights"] = {str(label): float(weight) for label, weight in weights}
        if self.label_order is not None:
            params["label_order"] = list(map(str, self.label_order))
        return params

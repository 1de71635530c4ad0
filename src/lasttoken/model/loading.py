"""The tutorial's loading in one call: configuration, tokenizer and model, ready for a device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from lasttoken.data.labels import LabelSpec
from lasttoken.events import EventCallback, ignore
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import resolve_device
from lasttoken.model.folder import load_for_training
from lasttoken.model.sources import fetch_model, locate_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_model(
    name: str,
    labels: Iterable[str] | LabelSpec,
    *,
    device: torch.device | str = "auto",
    seed: int = 123,
    on_event: EventCallback = ignore,
) -> tuple[Classifier, PreTrainedTokenizerBase]:
    """Load a classifier with a head for `labels`, and its tokenizer.

        model, tokenizer = load_model("gpt2", ["neg", "pos"])

    The tokenizer pads on the left with end-of-text where it has no pad token of its own; the
    model knows the pad token and the labels' names and lies on `device`.

    Args:
        name: Hub id, local folder, .gguf file or sample name.
        labels: the label strings in the order of their ids.
        device: "auto", "cpu", "cuda" ...
        seed: of a newly made head.
        on_event: hears progress.

    Raises:
        BackboneError: the model cannot be had, or is no decoder.
        ConfigError: there is no such device.
    """
    spec = labels if isinstance(labels, LabelSpec) else LabelSpec(tuple(labels))
    where = resolve_device(str(device))
    loaded = load_for_training(fetch_model(locate_model(name), on_event), spec, seed=seed)
    loaded.classifier.order_labels(spec)
    return loaded.classifier.to(where), loaded.tokenizer

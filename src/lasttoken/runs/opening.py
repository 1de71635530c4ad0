"""A run folder, opened to answer."""

from __future__ import annotations

import torch

from lasttoken.estimator import TextClassifier
from lasttoken.events import EventCallback
from lasttoken.model.device import bound_kernel_caches, resolve_device, resolve_precision
from lasttoken.runs.facts import weights_sha256
from lasttoken.runs.row_classifier import ModelSettings, OpenedModel
from lasttoken.training.preparation import tell_reading_path


def open_run(config: ModelSettings, on_event: EventCallback) -> OpenedModel:
    """Load the model of a run.

    Args:
        config: names the run, the precision and the device.
        on_event: told how the model reads.

    Raises:
        LastTokenError: the run is not as described.
    """
    bound_kernel_caches()
    classifier = TextClassifier.from_pretrained(
        config.run, precision=config.precision, device=config.device
    )
    tell_reading_path(classifier.loaded_, on_event)
    return open_classifier(classifier)


def open_classifier(classifier: TextClassifier) -> OpenedModel:
    """Return a classifier that is in memory already as one that was opened."""
    loaded = classifier.loaded_
    device = resolve_device(classifier.device)
    context = {
        "weights": weights_sha256(loaded.classifier.hf_model),
        "precision": resolve_precision(classifier.precision, device),
        "device": str(device),
        "reading_path": loaded.classifier.proof.path,
        "threads": str(torch.get_num_threads()),
    }
    return OpenedModel(
        classifier, loaded.record, loaded.classifier.labels, loaded.tokenizer, context
    )

"""Fine-tune a decoder language model into a text classifier that reads the last token.

from lasttoken import TextClassifier

clf = TextClassifier("gpt2").fit(texts, labels)
clf.predict(["what a film"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lasttoken.data.dataset import MovieReviewsDataset
    from lasttoken.data.labels import LabelSpec
    from lasttoken.errors import (
        BackboneError,
        BatchError,
        ConfigError,
        DatasetError,
        LastTokenError,
        RunError,
    )
    from lasttoken.estimator import TextClassifier
    from lasttoken.model.batch import Gpt2ClassificationCollator
    from lasttoken.model.loading import load_model
    from lasttoken.training.loop import train, validation

__version__ = "0.1.0"

# Imported at first use: `lasttoken --help` must not wait for torch.
_HOMES = {
    "BackboneError": "lasttoken.errors",
    "BatchError": "lasttoken.errors",
    "ConfigError": "lasttoken.errors",
    "DatasetError": "lasttoken.errors",
    "Gpt2ClassificationCollator": "lasttoken.model.batch",
    "LabelSpec": "lasttoken.data.labels",
    "LastTokenError": "lasttoken.errors",
    "MovieReviewsDataset": "lasttoken.data.dataset",
    "RunError": "lasttoken.errors",
    "TextClassifier": "lasttoken.estimator",
    "load_model": "lasttoken.model.loading",
    "train": "lasttoken.training.loop",
    "validation": "lasttoken.training.loop",
}

__all__ = [
    "BackboneError",
    "BatchError",
    "ConfigError",
    "DatasetError",
    "Gpt2ClassificationCollator",
    "LabelSpec",
    "LastTokenError",
    "MovieReviewsDataset",
    "RunError",
    "TextClassifier",
    "load_model",
    "train",
    "validation",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Import a public name from its home at first use."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]

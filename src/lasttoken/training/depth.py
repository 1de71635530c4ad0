"""How many blocks are kept where no probe chooses."""

from __future__ import annotations

from lasttoken.errors import ConfigError
from lasttoken.model.blocks import find_blocks
from lasttoken.model.classifier import Classifier
from lasttoken.training.state import FitSettings


def cut_as_asked(model: str, classifier: Classifier, settings: FitSettings) -> int:
    """Cut the model at a depth that is given as a number; return how many blocks it had.

    Raises:
        ConfigError: it has fewer blocks than it shall keep or train.
    """
    keeps, learns = settings.keeps, settings.learns
    if settings.trainable == "full" and keeps is None:
        return int(classifier.hf_model.config.get_text_config().num_hidden_layers)
    num_blocks = len(find_blocks(classifier.hf_model))
    if isinstance(keeps, int) and keeps > num_blocks:
        raise ConfigError(
            f"--depth {keeps}: model {model!r} has {num_blocks} blocks",
            expected=f"1 to {num_blocks}, all, or auto",
            remedy="--depth auto",
        )
    kept = keeps if isinstance(keeps, int) else num_blocks
    if learns.num_blocks is not None and learns.num_blocks > kept:
        cut = f", of which --depth {kept} keeps {kept}" if kept < num_blocks else ""
        raise ConfigError(
            f"--trainable {settings.trainable}: model {model!r} has {num_blocks} blocks{cut}",
            expected=f"last-1 to last-{kept}, full, or probe",
            remedy=f"--trainable last-{kept}",
        )
    if kept < num_blocks:
        classifier.cut(kept)
    return num_blocks

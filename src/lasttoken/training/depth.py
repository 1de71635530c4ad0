"""How many blocks are kept where no probe chooses: as asked for, or by default."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lasttoken.errors import BackboneError, ConfigError
from lasttoken.events import EventCallback, Note
from lasttoken.model.blocks import find_blocks
from lasttoken.model.classifier import Classifier
from lasttoken.model.folder import LoadedModel
from lasttoken.training.defaults import EXAMPLES_OF_ALL_BLOCKS, default_depth
from lasttoken.training.state import FitSettings


def cut_as_asked(model: str, classifier: Classifier, settings: FitSettings) -> int:
    """Cut the model at a depth that is given as a number; return how many blocks it had.

    Raises:
        ConfigError: it has fewer blocks than it shall keep or train.
    """
    keeps, learns = settings.keeps, settings.learns
    if settings.trainable == "full" and keeps in (None, "all"):
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


def cut_by_default(
    loaded: LoadedModel,
    settings: FitSettings,
    num_blocks: int,
    num_examples: int,
    label_words: NDArray[np.float32] | None,
    on_event: EventCallback,
) -> FitSettings:
    """Cut the model at the default depth if nobody gave one; return what is settled.

    The default is for what it was measured on: whole models that learn single labels with a new
    head, which does not start from the words of the language model.
    """
    if settings.keeps not in (None, "all"):
        return replace(settings, depth=settings.keeps)
    depth = num_blocks
    is_single = loaded.classifier.labels.kind == "single_label"
    is_measured = is_single and loaded.head_is_new and label_words is None
    if settings.keeps is None and settings.trainable == "full" and is_measured:
        depth = default_depth(num_examples, num_blocks)
    if depth < num_blocks:
        try:
            loaded.classifier.cut(depth)
        except BackboneError as error:  # a family whose blocks cannot be told apart
            on_event(Note(f"all {num_blocks} blocks are kept: {error.found}"))
            return replace(settings, depth=num_blocks)
        on_event(
            Note(
                f"the first {depth} of {num_blocks} blocks are kept: the default for less than "
                f"{EXAMPLES_OF_ALL_BLOCKS:,} examples; --depth all keeps all"
            )
        )
    return replace(settings, depth=depth)

"""What learns, and what stands in for parts of the model while it does.

objective       the loss, with weights of labels (`model.objective`)
adapters        beside the blocks' matrices (`model.lora`)
frozen blocks   answer with what they gave once (`training.cache`)
embeddings      of the tokens that occur (`model.embedding`)
blocks          computed anew in the backward pass (`model.recompute`)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np

from lasttoken.events import EventCallback
from lasttoken.model.batch import FILLER_TOKEN
from lasttoken.model.embedding import seen_tokens_only
from lasttoken.model.lora import Adapters, adapters_learn
from lasttoken.model.recompute import recomputed_blocks
from lasttoken.training.cache import Collate, TrainingInputs, frozen_inputs
from lasttoken.training.preparation import PreparedTraining


@dataclass(frozen=True)
class Learning:
    """What the loop over epochs works on.

    Attributes:
        inputs: examples and how batches are made of them.
        adapters: to be merged at the end, if adapters learn.
    """

    inputs: TrainingInputs
    adapters: Adapters | None


@contextmanager
def learning(
    prepared: PreparedTraining, collate: Collate, on_event: EventCallback
) -> Iterator[Learning]:
    """Let learn what the settings say; afterwards the model is whole again, also after an error.

    Args:
        prepared: its classifier is on the device.
        collate: of packed batches.
        on_event: hears what `frozen_inputs` has to tell.
    """
    settings, classifier = prepared.settings, prepared.loaded.classifier
    with ExitStack() as stack:
        stack.enter_context(_objective_set(prepared))
        adapters = None
        if settings.learns.kind == "lora":
            adapting = adapters_learn(classifier, settings.lora_shape, seed=settings.seed)
            adapters = stack.enter_context(adapting)
        inputs = stack.enter_context(frozen_inputs(prepared, collate, on_event))
        stack.enter_context(_seen_tokens(prepared))
        if settings.gradient_checkpointing:
            stack.enter_context(recomputed_blocks(classifier.hf_model))
        yield Learning(inputs, adapters)


@contextmanager
def _objective_set(prepared: PreparedTraining) -> Iterator[None]:
    """Let the loss be that of the settings; a trained model's is the plain one again."""
    classifier = prepared.loaded.classifier
    plain, classifier.objective = classifier.objective, prepared.objective
    try:
        yield
    finally:
        classifier.objective = plain


def _seen_tokens(prepared: PreparedTraining) -> AbstractContextManager[None]:
    """Train the embeddings of tokens that occur; with weight decay all, since every row decays."""
    if prepared.settings.weight_decay > 0:
        return nullcontext()
    texts = (prepared.training.texts.token_ids, prepared.validating.texts.token_ids)
    token_ids = np.concatenate([*texts, [FILLER_TOKEN]])
    return seen_tokens_only(prepared.loaded.classifier.hf_model, token_ids)

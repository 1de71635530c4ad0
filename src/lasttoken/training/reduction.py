"""Less compute: keep fewer blocks, train fewer of them, or none and fit the head alone.

--depth auto          features -> probe table -> the first N blocks are kept
--trainable probe     features -> probe table -> a head is fitted and written
--trainable last-K    what frozen blocks give, computed once (`training.cache`) -> epochs

Epochs start from a fitted head.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lasttoken.evaluation.folds import stratified_sample
from lasttoken.events import EpochEnd, EventCallback, Note
from lasttoken.model.frozen import frozen_but_last
from lasttoken.model.lora import num_learning_weights
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.training.choosing import pass_scores
from lasttoken.training.features import features_shape, fill_features
from lasttoken.training.head_fits import fit_head
from lasttoken.training.passes import PassResult
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.probe_heads import (
    ProbeTable,
    make_probe_table,
    num_table_texts,
)
from lasttoken.training.scratch import scratch_array, scratch_folder
from lasttoken.training.starting_head import (
    copy_head,
    fit_head_to_start_from,
    label_ids,
    starting_head,
)
from lasttoken.training.state import Extent

# How far below the best accuracy, in standard errors, a smaller depth still counts as equal. A
# trained model makes up for a block that its frozen self misses, and each block costs time in
# every epoch: one. A fitted head makes up for nothing, and costs one pass at any depth: none.
STANDARD_ERRORS = {"full": 1.0, "last": 1.0, "lora": 1.0, "probe": 0.0}

# Blocks that are kept beyond those which the rule chooses, where blocks are trained: a model is
# best trained somewhat deeper than its frozen states are read best. SmolLM2 on movie reviews:
# trained, 17 blocks reach 0.881 and all 30 reach 0.886; frozen states peak at 15 to 16.
EXTRA_BLOCKS = 2


@dataclass(frozen=True)
class FittedHead:
    """What `--trainable probe` gives in place of epochs.

    Attributes:
        logits: of the training examples, (N, C).
        seconds: wall seconds of the pass and the fit.
    """

    logits: NDArray[np.float32]
    seconds: float


def settle_depth(
    prepared: PreparedTraining, on_event: EventCallback
) -> tuple[ProbeTable | None, FittedHead | None]:
    """Make the probe table if a setting asks for it, cut the model, and fit its head.

    Args:
        prepared: its classifier, on the device, is changed in place.
        on_event: hears progress, the table and what follows from it.

    Returns:
        The table and the fitted head; None for what no setting asks for.
    """
    settings, classifier = prepared.settings, prepared.loaded.classifier
    kind = settings.learns.kind
    if kind != "probe" and settings.keeps != "auto":
        return None, None
    started = time.perf_counter()
    train_ids, validation_ids = label_ids(prepared)
    num_labels = classifier.labels.num_logits
    sample = stratified_sample(
        train_ids, num_table_texts(num_labels), np.random.default_rng(settings.seed)
    )
    with scratch_folder() as folder:
        train_texts = prepared.training.texts
        rows = sample
        if kind != "probe":  # then a sample is all that is ever looked at
            train_texts, rows = train_texts.take(sample), np.arange(len(sample))
        training = _features(prepared, train_texts, folder / "training", on_event)
        validating = _features(prepared, prepared.validating.texts, folder / "validation", on_event)
        table = make_probe_table(
            len(training),
            lambda depth: training[depth - 1, rows],
            train_ids[sample],
            lambda depth: validating[depth - 1],
            validation_ids,
            num_labels,
            seed=settings.seed,
            on_event=on_event,
        )
        depth = len(training)
        extra = 0 if kind == "probe" else EXTRA_BLOCKS
        if settings.keeps == "auto":
            rule = table.choose_depth(
                standard_errors=STANDARD_ERRORS[kind], at_least=settings.learns.num_blocks or 1
            )
            depth = min(rule + extra, depth)
        _tell_table(table, depth, settings.keeps == "auto", STANDARD_ERRORS[kind], extra, on_event)
        if depth < len(training):
            classifier.cut(depth)
        if kind != "probe":
            if starting_head(prepared) == "fitted":
                states = training[depth - 1, rows]
                fit_head_to_start_from(
                    prepared, states, torch.from_numpy(train_ids[sample]), on_event
                )
            return table, None
        states = training[depth - 1]  # (N, H)
        head = fit_head(
            states, train_ids, num_labels, penalty=table.row(depth).C, seed=settings.seed
        )  # (C, H)
        logits = np.asarray(states @ head.T)
    copy_head(prepared, head)
    return table, FittedHead(logits, time.perf_counter() - started)


def restore_depth(prepared: PreparedTraining, depth: int) -> None:
    """Cut a model at the depth that an earlier part of the run settled."""
    classifier = prepared.loaded.classifier
    config: Any = classifier.hf_model.config
    if depth < config.get_text_config().num_hidden_layers:
        classifier.cut(depth)


def measure_extent(prepared: PreparedTraining, table: ProbeTable | None) -> Extent:
    """Count what is kept and what learns; call it before anything stands in for a weight.

    Args:
        prepared: its classifier is cut already.
        table: of the probes, or None.
    """
    classifier, learns = prepared.loaded.classifier, prepared.settings.learns
    model: Any = classifier.hf_model
    if learns.kind == "probe":
        num_trainable = model.score.weight.numel()
    elif learns.kind == "lora":
        num_trainable = num_learning_weights(classifier, prepared.settings.lora_rank)
    elif learns.num_blocks is None:
        num_trainable = sum(p.numel() for p in model.parameters())
    else:
        with frozen_but_last(classifier, learns.num_blocks):
            num_trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Extent(
        depth=int(model.config.get_text_config().num_hidden_layers),
        num_blocks=prepared.num_blocks,
        num_weights=sum(p.numel() for p in model.parameters()),
        num_trainable_weights=num_trainable,
        starting_head=starting_head(prepared),
        probe_table=table,
    )


def describe_extent(extent: Extent) -> str:
    """Return a line on what is kept and what learns."""
    return (
        f"{extent.depth} of {extent.num_blocks} blocks; {extent.num_trainable_weights:,} of "
        f"{extent.num_weights:,} weights learn"
    )


def head_row(
    prepared: PreparedTraining, head: FittedHead, validated: PassResult, seconds: float
) -> EpochEnd:
    """Return a fitted head's numbers in the form of an epoch's.

    Args:
        prepared: with the examples.
        head: that was fitted.
        validated: of the model with that head.
        seconds: wall seconds of the validation.
    """
    labels = prepared.loaded.classifier.labels
    targets, logits = labels.encode(prepared.training.labels), torch.from_numpy(head.logits)
    scores = pass_scores(validated, labels)
    return EpochEnd(
        epoch=1,
        step=0,
        train_loss=float(labels.loss_sum(logits, targets)) / len(targets) * labels.loss_unit,
        train_accuracy=float((logits.argmax(dim=1) == targets).double().mean()),
        validation_loss=validated.loss * labels.loss_unit,
        validation_accuracy=scores.accuracy,
        validation_macro_f1=scores.macro_f1,
        learning_rate=0.0,
        seconds=head.seconds + seconds,
        is_kept=True,
    )


def _features(
    prepared: PreparedTraining, texts: TokenizedTexts, path: Path, on_event: EventCallback
) -> NDArray[np.float32]:
    settings, classifier = prepared.settings, prepared.loaded.classifier
    features = scratch_array(path, features_shape(classifier, len(texts)))
    fill_features(
        features,
        classifier,
        texts,
        device=settings.device,
        precision=settings.precision,
        on_event=on_event,
    )
    return features


def _tell_table(
    table: ProbeTable,
    depth: int,
    is_auto: bool,
    errors: float,
    extra: int,
    on_event: EventCallback,
) -> None:
    on_event(
        Note(
            f"a head on the frozen state behind each block, fitted on {table.num_examples:,} "
            "training examples; accuracy:"
        )
    )
    for row in table.rows:
        on_event(
            Note(
                f"  block {row.depth:>3}   cross-validated {row.cross_validated_accuracy:.3f}   "
                f"validation {row.validation_accuracy:.3f}   C {row.C:g}"
                + ("   <- kept up to here" if row.depth == depth else "")
            )
        )
    if is_auto:
        rule = f"within {errors:g} standard error of the best" if errors else "the best"
        more = f", and up to {extra} more" if extra else ""
        on_event(
            Note(
                f"depth {depth} of {len(table.rows)}: the smallest whose cross-validated accuracy "
                f"is {rule}{more}"
            )
        )

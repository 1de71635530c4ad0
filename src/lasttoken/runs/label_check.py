"""`--label-check`: labels that look wrong, with their texts, in the report and as CSV to review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lasttoken.data.examples import Example, copy_key
from lasttoken.data.splits import Splits
from lasttoken.data.writers import RowWriter
from lasttoken.evaluation.failures import shorten
from lasttoken.evaluation.intervals import wilson
from lasttoken.evaluation.label_issues import find_label_issues
from lasttoken.events import EventCallback, Note
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import Precision
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.training.out_of_fold import out_of_fold_probs
from lasttoken.training.preparation import PreparedTraining

CSV_NAME = "label_issues.csv"
MAX_SHOWN = 50  # a person reads no more in a report; the CSV holds all

_COLUMNS = ("split", "file", "row", "text", "label", "suggested_label", "label_probability",
            "suggested_probability")  # fmt: skip


@dataclass(frozen=True)
class CheckedSplit:
    """Examples of one split whose labels are looked at.

    Attributes:
        name: "train", "validation" or "test".
        examples: labeled.
        texts: the same, tokenized.
    """

    name: str
    examples: Sequence[Example]
    texts: TokenizedTexts


def check_labels(
    prepared: PreparedTraining,
    splits: Splits,
    test_texts: TokenizedTexts,
    *,
    folder: Path,
    seed: int,
    on_event: EventCallback,
) -> dict[str, Any]:
    """Look for wrong labels in all examples of a run, before its model is trained.

    Not afterwards: a trained model has learned the wrong labels too.

    Args:
        prepared: its classifier, moved to the device, keeps its weights.
        splits: of the run.
        test_texts: the test split, tokenized.
        folder: where `label_issues.csv` is written.
        seed: of folds and resamples.
        on_event: hears progress and the outcome.

    Returns:
        As `check_labels_of` does.
    """
    settings = prepared.settings
    return check_labels_of(
        prepared.loaded.classifier.to(settings.device),
        (
            CheckedSplit("train", splits.train, prepared.training.texts),
            CheckedSplit("validation", splits.validation, prepared.validating.texts),
            CheckedSplit("test", splits.test, test_texts),
        ),
        device=settings.device,
        precision=settings.precision,
        folder=folder,
        seed=seed,
        on_event=on_event,
    )


def check_labels_of(
    classifier: Classifier,
    splits: Sequence[CheckedSplit],
    *,
    device: torch.device,
    precision: Precision,
    folder: Path,
    seed: int,
    on_event: EventCallback,
) -> dict[str, Any]:
    """Look for wrong labels in examples that the classifier was not trained on.

    Args:
        classifier: on `device`; its blocks are read, its head is not.
        splits: at least one; all are judged together.
        device: where the classifier is.
        precision: of the pass.
        folder: where `label_issues.csv` is written, with all that is listed.
        seed: of folds and resamples.
        on_event: hears progress and the outcome.

    Returns:
        Ready for JSON: `noise_rate`, `noise_rate_interval` (low, high), `num_examples`, `depths`,
        `out_of_fold_accuracy` (where it is low, the list and the rate are mostly errors of the
        heads), `num_issues`, and `issues`: the first 50, each with the columns of the CSV. Where
        the heads agree with no more labels than the commonest one alone would, nothing is listed
        and the rates are None.

    Raises:
        ConfigError: the states do not fit on the disk.
        DatasetError: a label is unknown to the classifier.
        RunError: the CSV cannot be written.
    """
    examples = [(split.name, example) for split in splits for example in split.examples]
    labels = classifier.labels
    label_ids = labels.encode(str(example.label) for _, example in examples).numpy()
    _, copy_of = np.unique([copy_key(e) for _, e in examples], return_inverse=True)
    judged = out_of_fold_probs(
        classifier,
        _joined([split.texts for split in splits]),
        label_ids,
        copy_of,
        device=device,
        precision=precision,
        seed=seed,
        on_event=on_event,
    )
    hits = int((judged.probs.argmax(axis=1) == label_ids).sum())
    accuracy, commonest = hits / len(label_ids), int(np.bincount(label_ids).max()) / len(label_ids)
    # Heads that know no more than the commonest label would list their own errors.
    can_judge = wilson(hits, len(label_ids))[0] > commonest
    found = find_label_issues(label_ids, judged.probs, labels.labels, seed=seed)
    rows = (
        []
        if not can_judge
        else [
            {
                "split": examples[issue.index][0],
                "file": examples[issue.index][1].file,
                "row": examples[issue.index][1].row,
                "text": examples[issue.index][1].whole_text,
                "label": issue.label,
                "suggested_label": issue.suggested_label,
                "label_probability": issue.label_probability,
                "suggested_probability": issue.suggested_probability,
            }
            for issue in found.issues
        ]
    )
    with RowWriter(folder / CSV_NAME, _COLUMNS) as writer:
        writer.write(rows)
    low, high = found.noise_rate_interval
    text = (
        f"label check: {len(rows):,} of {found.num_examples:,} labels look wrong "
        f"({folder / CSV_NAME}); at most about {found.noise_rate:.1%} of all are "
        f"({low:.1%} to {high:.1%}), by heads that agree with {accuracy:.1%} of the labels"
    )
    if not can_judge:
        text = (
            f"label check: the frozen model cannot judge these labels: its heads agree with "
            f"{accuracy:.1%} of them, always saying the commonest label with {commonest:.1%}"
        )
    on_event(Note(text, is_warning=not can_judge))
    return {
        "noise_rate": found.noise_rate if can_judge else None,
        "noise_rate_interval": [low, high] if can_judge else None,
        "num_examples": found.num_examples,
        "depths": list(judged.depths),
        "out_of_fold_accuracy": accuracy,
        "num_issues": len(rows),
        "issues": [{**row, "text": shorten(str(row["text"]))} for row in rows[:MAX_SHOWN]],
    }


def _joined(parts: Sequence[TokenizedTexts]) -> TokenizedTexts:
    """Return all texts one after the other; all were tokenized alike."""
    starts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts[:-1], strict=True)]
    return TokenizedTexts(
        np.concatenate([part.token_ids for part in parts]),
        np.concatenate([*offsets, starts[-1:]]),
        np.concatenate([part.num_tokens for part in parts]),
        np.concatenate([part.truncated for part in parts]),
        parts[0].reading,
    )

"""A repaired model folder: the same weights, and files that make every program read them alike.

    config.json        pad_token_id, and label names where they are given
    tokenizer          pads on the right, with that id; cuts at the model's limit; names of special
                       tokens inside a text are text
    *.safetensors      byte for byte

The folder is examined as the original was, and gets its name only if it passes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lasttoken.doctor.answers import TOLERANCE
from lasttoken.doctor.examine import PACKED, Examination, examine
from lasttoken.durable import place, refuse_occupied, telling
from lasttoken.errors import BackboneError, RunError
from lasttoken.events import EventCallback
from lasttoken.model.backbone import load_tokenizer
from lasttoken.model.folder import open_to_umask
from lasttoken.model.inspection import read_json
from lasttoken.model.quiet import quiet_transformers

_INDEX = "model.safetensors.index.json"
_KEPT = ("generation_config.json", "lasttoken.json", "README.md", "LICENSE*", "NOTICE*")


def refuse_target(source: Path, target: Path) -> None:
    """Check, before any work, that a repaired folder can be written.

    Raises:
        RunError: something is there already, or it lies in the folder that is examined.
    """
    if target.exists() and not target.is_dir():
        raise RunError(
            f"--repair {target}: is a file",
            expected="a new folder",
            remedy="another name",
        )
    refuse_occupied(target)
    if source.resolve() in (target.resolve(), *target.resolve().parents):
        raise RunError(
            f"--repair {target}: lies in the folder that is examined",
            expected="a new folder outside of it",
            remedy="another name",
        )


def write_repaired(
    found: Examination,
    target: Path,
    texts: Sequence[str],
    label_ids: NDArray[np.int64] | None,
    labels: Sequence[str],
    on_event: EventCallback,
) -> Examination:
    """Write a repaired folder, if it passes the examination.

    Args:
        found: out about the original.
        target: the new folder.
        texts: with which both are examined.
        label_ids: likewise.
        labels: C names, in the order of their ids.
        on_event: hears progress.

    Returns:
        The examination of the repaired folder.

    Raises:
        RunError: it cannot be written.
        BackboneError: it does not pass: what is wrong cannot be mended so.
    """
    refuse_target(found.folder, target)
    with telling(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with telling(target):
            _fill(found, new, labels)
        again = examine(new, texts, label_ids, on_event, lengths=found.lengths)
        reasons = why_not_sound(again) or _why_other(found, again)
        if reasons:
            raise BackboneError(
                f"{found.folder}: the repaired folder does not pass: {'; '.join(reasons)}",
                expected="the same answers alone, padded on the right, and packed",
                remedy="train it anew: lasttoken train DATA --model " + str(found.folder),
            )
        with telling(target):
            if target.is_dir():
                target.rmdir()
            place(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return again


def why_not_sound(found: Examination) -> list[str]:
    """Return why answers still depend on what should not matter; empty if they do not."""
    reasons = [] if found.facts.padding_side == "right" else ["its tokenizer pads on the left"]
    for name in ("right", "right_long_neighbor", "right_positions", PACKED):
        answers = found.answers[name]
        if answers.fault and name == "right_positions":
            continue  # a family that takes none depends on none
        if answers.fault:
            reasons.append(f"{answers.title}: {answers.fault}")
        elif not answers.is_same:
            reasons.append(f"{answers.title}, answers are others than alone")
    if found.end_of_text.becomes_token and found.end_of_text.is_read_early:
        reasons.append("a text that ends in the end-of-text marker is read early")
    return reasons


def _why_other(before: Examination, after: Examination) -> list[str]:
    """Return how answers differ from the original's, but for markers inside texts, now text."""
    markers = {before.end_of_text.marker, before.facts.pad_token}
    others = sorted(frozenset().union(*before.special_inside) - markers)
    if others:
        return [f"it reads {', '.join(others)} inside texts as text, the original as tokens"]
    same = [place for place, names in enumerate(before.special_inside) if not names]
    if any(before.token_ids[place] != after.token_ids[place] for place in same):
        return ["its tokenizer makes other tokens of the texts"]
    reach = TOLERANCE * max(1.0, float(np.abs(before.packed_logits).max()))
    if (np.abs(before.packed_logits - after.packed_logits)[same] > reach).any():
        return ["its answers are others than the original's"]
    return []


def _fill(found: Examination, new: Path, labels: Sequence[str]) -> None:
    source = found.folder
    patterns = ("*.safetensors", _INDEX, *_KEPT)
    for path in sorted({path for pattern in patterns for path in source.glob(pattern)}):
        if path.is_file():
            shutil.copyfile(path, new / path.name)
    pad_id = _pad_id(found)
    config = read_json(source / "config.json")
    config["pad_token_id"] = pad_id
    if isinstance(config.get("text_config"), dict):  # where stock heads look first
        config["text_config"]["pad_token_id"] = pad_id
    config["id2label"] = {str(label_id): label for label_id, label in enumerate(labels)}
    config["label2id"] = {label: label_id for label_id, label in enumerate(labels)}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (new / "config.json").write_text(text, encoding="utf-8")
    with quiet_transformers():
        tokenizer = load_tokenizer(source)  # names of special tokens inside a text are text
        if tokenizer.pad_token_id != pad_id:
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side, tokenizer.model_max_length = "right", found.facts.max_length
        tokenizer.truncation_side = found.facts.truncation_side
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.no_padding()
            tokenizer.backend_tokenizer.no_truncation()
        tokenizer.save_pretrained(new)
    open_to_umask(new)


def _pad_id(found: Examination) -> int:
    """Return the tokenizer's own pad token where the model knows it, else end-of-text."""
    facts = found.facts
    return facts.fill_id if 0 <= facts.fill_id < facts.vocabulary else facts.eos_id

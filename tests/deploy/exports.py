"""Tiny classifiers to export: a head with labels on a random decoder, saved as a model folder."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from families import read_as, save_decoder
from lasttoken.config import ExportConfig
from lasttoken.data.labels import LabelSpec
from lasttoken.deploy.export.run import ExportOutcome, run_export
from lasttoken.estimator import TextClassifier
from lasttoken.events import ignore
from lasttoken.model.folder import load_for_training, save_model_folder

LIMIT = 64  # positions of the tiny decoders
LABELS = LabelSpec(("bad", "fair", "good"))
END_OF_TEXT = "<|endoftext|>"
_STARTS = (("a fine", "seen twice"), ("no", "never again!"), ("so so", "ok"))
TEXTS = [f"{start} film number {n}, {end}" for n in range(20) for start, end in _STARTS]
UNUSUAL = ["", " ", END_OF_TEXT, f"good {END_OF_TEXT}", f"{END_OF_TEXT} good", "<s>", "é好🙂",
           "x" * 63, "x" * 64, "x" * 65, "word " * 60, "\n\t\r\n"]  # fmt: skip


def positions(family: str) -> dict[str, int]:
    """The setting that gives a family `LIMIT` positions."""
    return {"n_positions" if family == "gpt2" else "max_position_embeddings": LIMIT}


def save_classifier(
    folder: Path,
    family: str = "gpt2",
    labels: LabelSpec = LABELS,
    *,
    record: dict[str, object] | None = None,
    changes: dict[str, object] | None = None,
    adds_bos: bool = False,
    **reading: object,
) -> Path:
    """Save a random classifier that reads texts by these settings; return its model folder."""
    decoder = save_decoder(
        folder / "decoder", family, adds_bos=adds_bos, **{**positions(family), **(changes or {})}
    )
    loaded = load_for_training(decoder, labels, seed=1)
    loaded = read_as(loaded, **reading)
    told = replace(loaded.record, text_column="text", label_column="label", **(record or {}))
    save_model_folder(folder / "model", loaded.classifier, loaded.tokenizer, told)
    return folder / "model"


def write_answered(path: Path, model: Path, texts: list[str] | None = None,
                   pairs: list[str] | None = None) -> Path:  # fmt: skip
    """Write texts labeled as the model itself answers them, so that its accuracy is 1."""
    texts = TEXTS if texts is None else texts
    classifier = TextClassifier.from_pretrained(model, precision="fp32", device="cpu")
    read = classifier.tokenize(texts, pairs)
    spec = classifier.loaded_.classifier.labels
    decisions = classifier.decide(classifier.probs(classifier.predict_logits(read)))
    import torch

    names = spec.names(torch.from_numpy(decisions))
    columns = {"text": texts, **({} if pairs is None else {"pair": pairs}), "label": names}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def export(model: Path, data: Path, output: Path, **settings: object) -> ExportOutcome:
    """Export a model folder, compared on labeled texts."""
    config = ExportConfig(run=str(model), data=str(data), output=str(output), **settings)
    return run_export(config, on_event=ignore)

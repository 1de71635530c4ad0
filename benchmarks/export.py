"""Do exported models answer as the run does, and how fast are they?

    python -m benchmarks.export [--quick] [--run RUN]

A run on the movie reviews (SmolLM2, 1,600 reviews, made once and kept, unless another is named),
exported in fp32 and in 8 bits. Agreement and accuracy on its test reviews, as the exports record
them, beside ONNX Runtime's plain dynamic int8. Then throughput and single texts, in turn: the run
in bf16 and fp32, both exports by the light path, and the same graphs in a plain ONNX Runtime loop
(sorted, padded, 32 at a time).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.driver import Contender, Measured, compare
from benchmarks.measure import (
    REPEATS,
    SCRATCH,
    SMOKE,
    Results,
    figure,
    ratio_figure,
    seconds_per_token,
)
from benchmarks.models import read_texts, texts_file
from benchmarks.precision import trained_model
from lasttoken import TextClassifier
from lasttoken.config import ExportConfig
from lasttoken.deploy.export.graph import quiet_logging
from lasttoken.deploy.export.run import run_export
from lasttoken.deploy.light.record import GRAPH_NAME, RECORD_NAME
from lasttoken.events import ignore
from lasttoken.model.location import model_folder

FORMATS = ("onnx", "onnx-int8")
NUM_CLEAREST = 60


def folder_of(run: Path) -> Path:
    """Return where the exports of a run lie."""
    return SCRATCH / "exported" / "smoke" if SMOKE else run / "exported"


def exported(run: Path) -> dict[str, dict[str, Any]]:
    """Export the run in each format, if that was not done; return what each export recorded."""
    checks = {}
    for name in FORMATS:
        folder = folder_of(run) / name
        if not (folder / RECORD_NAME).is_file():
            data = str(_clearest(run)) if SMOKE else None
            config = ExportConfig(run=str(run), format=name, data=data, output=str(folder))
            run_export(config, on_event=ignore)
        checks[name] = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))["checks"]
    return checks


def _clearest(model: Path) -> Path:
    """Return the reviews whose answer by random weights is the clearest, labeled with it."""
    texts = read_texts(texts_file("short"))["test"]["texts"]
    classifier = TextClassifier.from_pretrained(model, precision="fp32")
    probs = classifier.predict_proba(texts)
    places = np.argsort(-probs.max(axis=1))[:NUM_CLEAREST]
    labels = classifier.classes_[probs[places].argmax(axis=1)].tolist()
    rows = zip([texts[place] for place in places], labels, strict=True)
    path = folder_of(model) / "data.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def dynamic_int8(run: Path) -> Path:
    """Return the fp32 graph after ONNX Runtime's dynamic quantization, made if it is not there."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder_of(run) / "dynamic-int8.onnx"
    if not path.is_file():
        graph = folder_of(run) / "onnx" / GRAPH_NAME
        with quiet_logging():
            quantize_dynamic(graph, path, per_channel=True, weight_type=QuantType.QInt8)
    return path


def dynamic_agreement(run: Path, num_texts: int) -> float:
    """Return on how many texts ONNX Runtime's dynamic int8 gives the label of the fp32 graph."""
    import onnxruntime

    from benchmarks.peers.sorted_batches import Scorer

    texts = read_texts(texts_file("short"))["test"]["texts"][:num_texts]
    answers = []
    for path in (folder_of(run) / "onnx" / GRAPH_NAME, dynamic_int8(run)):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        score = Scorer(str(model_folder(run)), lambda inputs, s=session: s.run(None, inputs)[0], 32)
        answers.append(np.array(score(texts)).argmax(axis=1))
    return float((answers[0] == answers[1]).mean())


def contenders(run: Path, entry: str, num_texts: int) -> list[Contender]:
    """Return everyone.

    Args:
        run: the run.
        entry: "predict" or "predict_single".
        num_texts: of one pass.
    """
    job = {"model": str(run), "texts": str(texts_file("short")), "num_texts": num_texts}
    found = [
        Contender(f"lasttoken {kind}", f"benchmarks.ours:{entry}", kind, {**job, "precision": kind})
        for kind in ("bf16", "fp32")
    ]
    for name, kind in zip(FORMATS, ("fp32", "int8"), strict=True):
        light = {**job, "model": str(folder_of(run) / name)}
        found.append(Contender(f"exported {kind}", f"benchmarks.exported:{entry}", kind, light))
    fp32 = folder_of(run) / "onnx" / GRAPH_NAME
    for path, kind in ((fp32, "fp32"), (dynamic_int8(run), "int8")):
        plain = {**job, "model": str(model_folder(run)), "graph": str(path), "batch_size": 32}
        entry_of = f"benchmarks.exported:{entry}_plainly"
        found.append(Contender(f"plain ONNX Runtime {kind}", entry_of, kind, plain))
    return found


def figures_of(part: str, measured: dict[str, Measured]) -> dict[str, Any]:
    """Return rates, and how many times faster each export is than the run and the plain loop."""
    seconds = {name: seconds_per_token(found.segments) for name, found in measured.items()}
    figures = {
        f"{part} / {name} / tokens per second": figure([1 / each for each in values])
        for name, values in seconds.items()
    }
    for kind in ("fp32", "int8"):
        mine = f"exported {kind}"
        for other in measured:
            if mine in seconds and not other.startswith("exported"):
                figures[f"{part} / {mine} / vs {other}"] = ratio_figure(
                    seconds[other],
                    seconds[mine],
                    our_class=kind,
                    peer_class=measured[other].kind,
                )
    return figures


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short repeats")
    parser.add_argument("--run", type=Path, help="another run on the movie reviews")
    words = parser.parse_args()
    quick = bool(words.quick)
    results = Results("export", quick=quick)
    run = words.run.resolve() if words.run else trained_model()
    num_texts = 16 if SMOKE else 128 if quick else 256
    if not results.has("agreement"):
        figures: dict[str, Any] = {}
        checks = exported(run)
        for name, found in checks.items():
            for key in ("labels_equal", "accuracy", "exported_accuracy", "mean_difference",
                        "largest_difference", "alone_difference"):  # fmt: skip
                figures[f"{name} / {key}"] = figure([found[key]], texts=found["num_texts"])
            share = found["exported_bytes"] / found["weights_bytes"]
            figures[f"{name} / bytes of fp32's"] = figure([share])
        figures["dynamic int8 / labels_equal"] = figure(
            [dynamic_agreement(run, num_texts)], texts=num_texts
        )
        results.add("agreement", {"checks": checks}, figures)
    for part, entry, steps in (("passes", "predict", 1), ("single texts", "predict_single", 20)):
        if results.has(part):
            continue
        everyone = contenders(run, entry, num_texts)
        print(f"{part}: {', '.join(one.name for one in everyone)}", flush=True)
        measured, failed = compare(everyone, steps=2 if SMOKE else steps, repeats=REPEATS)
        details = {name: found.record() for name, found in measured.items()}
        results.add(part, {"contenders": details, "failed": failed}, figures_of(part, measured))
    results.save()


if __name__ == "__main__":
    main()

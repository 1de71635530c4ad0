"""OpenVINO through optimum-intel, in an environment of its own.

Texts sorted by length, padded on the right; one stream over all threads ("LATENCY"), or one stream
a thread fed without waiting ("THROUGHPUT"), whichever the job asks for. int8 is weights and
activations by NNCF, calibrated on training texts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import Gate
from benchmarks.measure import SCRATCH
from benchmarks.peers.sorted_batches import run_single, run_sorted

_CALIBRATION_TEXTS = 300


def predict(gate: Gate, job: dict[str, Any]) -> None:
    """Score a fixed list of texts, a gate after every pass."""
    run_sorted(gate, job, _load(job))


def predict_single(gate: Gate, job: dict[str, Any]) -> None:
    """Score one text at a time, a gate after every text."""
    run_single(gate, job, _load(job))


def _load(job: dict[str, Any]) -> Any:  # noqa: ANN401 - a function from arrays to logits
    import openvino

    precision = job["precision"]
    path = _exported(job, "int8" if precision == "int8" else "fp32")
    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": job.get("hint", "LATENCY"),
        "INFERENCE_NUM_THREADS": job["threads"],
        # Chosen by hand: where bf16 is native, f32 models run in bf16 unless told otherwise.
        "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16",
    }
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    names = {name for tensor in request.model_inputs for name in tensor.names}

    def logits(inputs: dict[str, Any]) -> Any:  # noqa: ANN401
        if "position_ids" in names:
            positions = np.maximum(inputs["attention_mask"].cumsum(axis=1) - 1, 0)
            inputs = {**inputs, "position_ids": positions}
        if "beam_idx" in names:
            inputs = {**inputs, "beam_idx": np.arange(len(inputs["input_ids"]), dtype=np.int32)}
        return request.infer(inputs)[0]

    return logits


def _exported(job: dict[str, Any], precision: str) -> Path:
    model = job["model"]
    folder = SCRATCH / "openvino" / f"{Path(model).name}-{precision}"
    path = folder / "openvino_model.xml"
    if path.is_file():
        return path
    if precision == "fp32":
        from optimum.intel import OVModelForSequenceClassification

        exported = OVModelForSequenceClassification.from_pretrained(
            model, export=True, compile=False, load_in_8bit=False
        )
        exported.save_pretrained(folder)
        return path
    import nncf
    import openvino

    from benchmarks.peers.sorted_batches import Scorer

    source = openvino.Core().read_model(_exported(job, "fp32"))
    part = json.loads(Path(job["texts"]).read_text(encoding="utf-8"))["train"]
    seen: list[dict[str, Any]] = []

    def collect(inputs: dict[str, Any]) -> Any:  # noqa: ANN401
        seen.append(inputs)
        return np.zeros((len(inputs["input_ids"]), 2))

    Scorer(model, collect, 1)(part["texts"][:_CALIBRATION_TEXTS])
    quantized = nncf.quantize(source, nncf.Dataset(seen), model_type=nncf.ModelType.TRANSFORMER)
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantized, path)
    return path

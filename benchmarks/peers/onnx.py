"""ONNX Runtime through optimum, in an environment of its own (optimum needs older transformers).

Graph optimizations on, all threads, texts sorted by length and padded on the right: the exported
graph takes no positions. int8 is dynamic quantization in the form that AVX512 VNNI executes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gate import Gate
from benchmarks.measure import SCRATCH
from benchmarks.peers.sorted_batches import run_single, run_sorted


def predict(gate: Gate, job: dict[str, Any]) -> None:
    """Score a fixed list of texts, a gate after every pass."""
    run_sorted(gate, job, _load(job))


def predict_single(gate: Gate, job: dict[str, Any]) -> None:
    """Score one text at a time, a gate after every text."""
    run_single(gate, job, _load(job))


def _load(job: dict[str, Any]) -> Any:  # noqa: ANN401 - a function from arrays to logits
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSequenceClassification

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    folder = _exported(job["model"], job["precision"])
    model = ORTModelForSequenceClassification.from_pretrained(
        folder, session_options=options, provider="CPUExecutionProvider"
    )

    def logits(inputs: dict[str, Any]) -> Any:  # noqa: ANN401
        return model(**inputs).logits

    return logits


def _exported(model: str, precision: str) -> Path:
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    folder = SCRATCH / "onnx" / f"{Path(model).name}-{precision}"
    if any(folder.glob("*.onnx")):
        return folder
    if precision == "fp32":
        ORTModelForSequenceClassification.from_pretrained(model, export=True).save_pretrained(
            folder
        )
        return folder
    quantizer = ORTQuantizer.from_pretrained(_exported(model, "fp32"))
    config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    quantizer.quantize(save_dir=folder, quantization_config=config)
    return folder

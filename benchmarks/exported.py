"""Exported models as contenders: by our light path, and in a plain ONNX Runtime loop."""

from __future__ import annotations

from typing import Any

from benchmarks.gate import Gate
from benchmarks.models import read_texts
from benchmarks.peers.sorted_batches import Logits, run_single, run_sorted
from lasttoken.deploy.light import LightClassifier


def predict(gate: Gate, job: dict[str, Any]) -> None:
    """Score a fixed list of texts, a gate after every pass."""
    part = read_texts(job["texts"])["test"]
    texts, counts = part["texts"][: job["num_texts"]], part["num_tokens"][: job["num_texts"]]
    classifier = LightClassifier.from_folder(job["model"], num_threads=job["threads"])
    gate.begin(sample=classifier.predict_probs(texts[:8]).tolist())
    while True:
        classifier.predict_probs(texts)
        gate.step(counts)


def predict_single(gate: Gate, job: dict[str, Any]) -> None:
    """Score one text at a time, a gate after every text."""
    part = read_texts(job["texts"])["test"]
    classifier = LightClassifier.from_folder(job["model"], num_threads=job["threads"])
    gate.begin(sample=classifier.predict_probs(part["texts"][:1]).tolist())
    while True:
        for text, count in zip(part["texts"], part["num_tokens"], strict=True):
            classifier.predict_probs([text])
            gate.step([count])


def predict_plainly(gate: Gate, job: dict[str, Any]) -> None:
    """Score as `predict`, in the loop of the other exported contenders."""
    run_sorted(gate, job, _session(job))


def predict_single_plainly(gate: Gate, job: dict[str, Any]) -> None:
    """Score one text at a time, likewise."""
    run_single(gate, job, _session(job))


def _session(job: dict[str, Any]) -> Logits:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        job["graph"], sess_options=options, providers=["CPUExecutionProvider"]
    )

    def logits(inputs: dict[str, Any]) -> Any:  # noqa: ANN401 - an array (B, C)
        return session.run(["logits"], inputs)[0]

    return logits

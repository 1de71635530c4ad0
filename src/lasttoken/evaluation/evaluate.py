"""Everything measured about a run's model, and its file `metrics.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lasttoken.durable import replace_file
from lasttoken.evaluation.baseline import BaselineResult
from lasttoken.evaluation.metrics import ClassificationMetrics

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model beside its baselines'.

    Attributes:
        test: on the test examples, scored once.
        validation: on the validation examples, or None if there were none.
        baselines: on the same test examples.
        verdict: what that means, in a few sentences (see `verdict.verdict`).
    """

    test: ClassificationMetrics
    validation: ClassificationMetrics | None
    baselines: tuple[BaselineResult, ...]
    verdict: str


def metrics_dict(evaluation: Evaluation, labels: Sequence[str]) -> dict[str, object]:
    """Return the content of `metrics.json`.

    A baseline holds its scores, then its settings, seconds and reason; one that could not be
    made holds the last three only.
    """
    validation = evaluation.validation
    return {
        "schema_version": SCHEMA_VERSION,
        "labels": list(labels),
        "verdict": evaluation.verdict,
        "test": evaluation.test.to_dict(),
        "validation": None if validation is None else validation.to_dict(),
        "baselines": {
            baseline.name: {
                **({} if baseline.metrics is None else baseline.metrics.to_dict()),
                "settings": dict(baseline.settings),
                "seconds": baseline.seconds,
                "reason": baseline.reason,
            }
            for baseline in evaluation.baselines
        },
    }


def write_metrics(path: Path, metrics: Mapping[str, object]) -> None:
    """Write `metrics.json`: whole or not at all.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not know.
        OSError: the folder is missing or not writable.
    """
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    replace_file(path, (text + "\n").encode())

"""Runs that take minutes: each is measured once, in a process of its own, and kept.

A program that was interrupted finds its finished runs again; `python -m benchmarks.run --fresh`
forgets them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.driver import Contender, WorkerError, run_to_end
from benchmarks.measure import SCRATCH, SMOKE
from benchmarks.models import read_texts, texts_file

FOLDER = SCRATCH / ("smoke" if SMOKE else "whole-runs")
# As many as the demo trains on. With all 8,568 the Trainer's twelve runs alone take three hours.
NUM_EXAMPLES = 2_400
_VALIDATION = 858  # as `lasttoken train movie-reviews --limit 2400` sets aside
_SPLIT_SEED = 123


def review_splits() -> Path:
    """Return 2,400 reviews to train on, 858 to validate on, stratified, and the test reviews."""
    path = SCRATCH / "texts" / ("reviews-smoke.json" if SMOKE else f"reviews-{NUM_EXAMPLES}.json")
    if path.is_file():
        return path
    from sklearn.model_selection import train_test_split

    content = read_texts(texts_file("short"))
    part = content["train"]
    places = list(range(len(part["texts"])))
    kept, aside = train_test_split(
        places,
        train_size=NUM_EXAMPLES,
        test_size=_VALIDATION,
        stratify=part["labels"],
        random_state=_SPLIT_SEED,
    )
    splits = {name: [part, chosen] for name, chosen in (("train", kept), ("validation", aside))}
    splits["test"] = [content["test"], list(range(len(content["test"]["texts"])))]
    limit = 64 if SMOKE else None
    written = {
        name: {key: [values[i] for i in chosen[:limit]] for key, values in source.items()}
        for name, (source, chosen) in splits.items()
    }
    path.write_text(json.dumps(written), encoding="utf-8")
    return path


def run_once(program: str, contender: Contender) -> dict[str, Any]:
    """Return a run's report, measured now or kept from before; {"failed": why} if it failed.

    Failures are not kept: they are tried again.
    """
    slug = contender.name.replace(" ", "-").replace("/", "-")
    path = FOLDER / program / f"{slug}.json"
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    print(f"  {contender.name} ...", flush=True)
    try:
        report = run_to_end(contender)
    except WorkerError as error:
        print(f"    {short_reason(str(error))}", flush=True)
        return {"failed": short_reason(str(error))}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report), encoding="utf-8")
    shown = {key: report[key] for key in report if key.endswith(("seconds", "accuracy"))}
    print("    " + ", ".join(f"{key} {value:.4g}" for key, value in shown.items()), flush=True)
    return report


def short_reason(error: str) -> str:
    """Return the message of a worker's error without the traceback before it."""
    return error.rpartition(" | ")[2].rpartition("Error: ")[2]

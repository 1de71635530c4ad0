"""`lasttoken compare`: runs side by side, on the test examples that all of them answered."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lasttoken.config import CompareConfig
from lasttoken.durable import folder_beside, replace_folder, telling
from lasttoken.errors import RunError
from lasttoken.evaluation.compare import comparison_dict
from lasttoken.evaluation.evaluate import write_metrics
from lasttoken.evaluation.kinds import KINDS
from lasttoken.evaluation.report.page import write_comparison
from lasttoken.evaluation.report.plots import write_comparison_plots
from lasttoken.events import EventCallback, Note, NoteKeeper
from lasttoken.runs.compared import FinishedRun, answers_of, read_finished

CONTENT_NAME = "comparison.json"
_SEED = 123  # of bootstraps: the same intervals every time


@dataclass(frozen=True)
class CompareOutcome:
    """Where a comparison was written, and the content of its `comparison.json`."""

    folder: Path
    content: Mapping[str, Any]


def run_comparison(config: CompareConfig, *, on_event: EventCallback) -> CompareOutcome:
    """Compare runs, or evaluations, on the test examples that all of them answered.

    Raises:
        RunError: one is no finished run, they have other labels, or no example in common; or the
            output folder holds something else.
    """
    told = NoteKeeper(on_event)
    runs = dict(zip(_names(config.runs), map(read_finished, config.runs), strict=True))
    output = Path(config.output_dir or Path("runs", "-vs-".join(_short(runs))))
    _check_output(output, runs, overwrite=config.overwrite)
    first = next(iter(runs.values()))
    labels = list(first.metrics["labels"])
    for run in runs.values():
        if run.task != first.task:
            raise RunError(
                f"{run.folder}: its task is {run.task}",
                expected=f"that of {first.folder}: {first.task}",
                remedy="compare runs of one task",
            )
        if set(run.metrics["labels"]) != set(labels):
            raise RunError(
                f"{run.folder}: has labels {', '.join(sorted(run.metrics['labels'])[:8])}",
                expected=f"those of {first.folder}: {', '.join(sorted(labels)[:8])}",
                remedy="compare runs of one task",
            )
    common = [key for key in first.places if all(key in run.places for run in runs.values())]
    if not common:
        raise RunError(
            f"{' and '.join(str(run.folder) for run in runs.values())}: no test example in common",
            expected="runs that were scored on the same test examples",
            remedy="lasttoken evaluate each on one file, then compare RUN/evaluations/FILE of each",
        )
    for name, run in runs.items():
        more = len(run.places) - len(common)
        if more:
            told(
                Note(
                    f"{name}: {more:,} of its {len(run.places):,} test examples are not the "
                    f"others' and are left out",
                    is_warning=True,
                )
            )
    spec = first.spec
    truth = KINDS[spec.kind].targets(spec, [label for _, label, _ in common])
    answers = {
        name: answers_of(run, [run.places[key] for key in common], labels)
        for name, run in runs.items()
    }
    content = {
        **comparison_dict(truth, answers, labels, task=first.task, seed=_SEED),
        "title": " and ".join(runs),
        "folders": {name: str(run.folder) for name, run in runs.items()},
        "cost": {name: _cost(run.record) for name, run in runs.items()},
        "differing_settings": _differing({name: run.record for name, run in runs.items()}),
        "notes": told.warnings,
    }
    _write(output, content)
    return CompareOutcome(output, content)


def _write(output: Path, content: Mapping[str, Any]) -> None:
    """Write a comparison; an earlier one stays until the new one is complete.

    Raises:
        RunError: it cannot be written.
    """
    with telling(output):
        new = folder_beside(output)
    try:
        new.mkdir(parents=True)
        write_metrics(new / CONTENT_NAME, content)
        plots = write_comparison_plots(new / "plots", content)
        write_comparison(new / "report.html", content, plots)
        replace_folder(new, output)
    except (OSError, RunError) as error:
        what = error.found if isinstance(error, RunError) else error.strerror or error
        raise RunError(
            f"{output}: {what}",
            expected="a place that can be written, with room left",
            remedy="make room or give the right to write, then the same command",
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _names(paths: Sequence[str]) -> list[str]:
    """Return a name for each run, the shortest ends of their paths that differ.

    Raises:
        RunError: one folder is given twice, or only one.
    """
    resolved = [Path(path).resolve() for path in paths]
    if len(set(resolved)) < 2 or len(set(resolved)) < len(resolved):
        raise RunError(
            f"compare {' '.join(paths)}: " + ("one run" if len(paths) < 2 else "a run twice"),
            expected="two or more different runs",
            remedy="lasttoken compare RUN RUN",
        )
    for length in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-length:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths differ in their parts")


def _short(runs: Mapping[str, Any]) -> list[str]:
    return [name.replace("/", "-") for name in runs]


def _check_output(output: Path, runs: Mapping[str, FinishedRun], *, overwrite: bool) -> None:
    for run in runs.values():
        if run.folder.resolve() in (output.resolve(), *output.resolve().parents):
            raise RunError(
                f"--output-dir {output}: lies in {run.folder}, which is compared",
                expected="a folder outside of every run",
                remedy="another --output-dir",
            )
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / CONTENT_NAME).is_file():
        raise RunError(
            f"--output-dir {output}: holds something that is no comparison",
            expected="a folder that does not exist, is empty, or holds an earlier comparison",
            remedy="another --output-dir",
        )
    if not overwrite:
        raise RunError(
            f"{output}: this comparison is there already",
            expected="a folder that does not exist or is empty",
            remedy="--overwrite, to make it anew, or another --output-dir",
        )


def _cost(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run cost, as far as its record tells."""
    results = record.get("results", {})
    return {
        "training_seconds": results.get("seconds", {}).get("train"),
        "peak_memory_bytes": results.get("peak_memory_bytes"),
        "model_bytes": results.get("model_bytes"),
        "texts_per_second": results.get("texts_per_second"),
    }


def _differing(records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the settings in which runs differ: setting to run to value."""
    settings = {name: record.get("settings", {}) for name, record in records.items()}
    keys = sorted({key for each in settings.values() for key in each})
    found = {}
    for key in keys:
        values = {name: str(each.get(key, "-")) for name, each in settings.items()}
        if len(set(values.values())) > 1:
            found[key] = values
    return found

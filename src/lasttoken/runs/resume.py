"""An unfinished run: may it go on, or was something changed? And what goes when it is finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lasttoken.data.splits import Splits, fingerprint
from lasttoken.durable import telling
from lasttoken.errors import RunError
from lasttoken.events import EventCallback, Note
from lasttoken.runs.record import CHECKPOINTS_NAME, LOCK_NAME, write_record
from lasttoken.training.checkpoint import CheckpointFolder
from lasttoken.training.defaults import SETTLED

# Of run.json's "resolved": what a result depends on beside settings and data.
_DECISIVE = {
    "labels": "the labels",
    "model_sha256": "the model's weights",
    "max_length": "the length at which texts are cut",
    "precision": "the precision",
    "device": "the device",
    "reading_path": "how the model is read",
    "num_blocks": "the model's blocks",
}
_SPLITS = ("train", "validation", "test")


def check_unchanged(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], on_event: EventCallback
) -> None:
    """Check that a run may go on from where it was.

    Args:
        folder: of the run.
        before: the record it began with.
        now: the record that it would begin with today.
        on_event: hears a warning if threads or versions are others: the result is as good, but
            no longer the same to the last bit.

    Raises:
        RunError: data, labels, tokenizer or model are not those it began with.
    """
    changed = changed_inputs(before, now)
    if changed:
        raise RunError(
            f"--output-dir {folder}: holds an unfinished run that began with other things: "
            + ", ".join(changed),
            expected="what the run began with, to go on from where it was",
            remedy="bring that back, or another --output-dir, or --overwrite to begin anew",
        )
    others = changed_surroundings(before, now)
    if others:
        text = "the run began with " + "; ".join(others) + ": its last bits may differ"
        on_event(Note(text, is_warning=True))


def check_same_data(folder: Path, record: Mapping[str, Any], splits: Splits, data: str) -> None:
    """Check that what is finished was made from the examples that are there today.

    Raises:
        RunError: it was not.
    """
    for name in _SPLITS:
        if fingerprint(getattr(splits, name)) != record["data"][name]["fingerprint"]:
            raise RunError(
                f"--output-dir {folder}: holds this run on other data; {data} has changed",
                expected="the data of the finished run, or a new folder",
                remedy="another --output-dir, or --overwrite",
            )


def changed_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name what decides a result, beside the settings, and differs between two records."""
    changed = [
        f"{name} data" for name in _SPLITS if _differs(before, now, "data", name, "fingerprint")
    ]
    if not changed and any(_differs(before, now, "data", n, "tokens_sha256") for n in _SPLITS):
        changed.append("the tokenizer")
    # Runs of earlier versions did not record these: their settings told them.
    settled = {k: f"the default {k}" for k in SETTLED if k in before.get("resolved", {})}
    for key, what in {**_DECISIVE, **settled}.items():
        if _differs(before, now, "resolved", key):
            was, is_now = before["resolved"].get(key), now["resolved"].get(key)
            is_long = key in ("labels", "model_sha256")
            changed.append(what if is_long else f"{what} ({was}, now {is_now})")
    return changed


def changed_surroundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the versions and what of the machine decides the last bits, where two records differ."""
    others = [
        f"{name} {before['versions'].get(name, '-')}, now {version}"
        for name, version in now["versions"].items()
        if before["versions"].get(name) != version
    ]
    return others + [
        f"{name} {before['machine'].get(name)}, now {now['machine'][name]}"
        for name in ("processes", "threads", "cpu_capability", "processor")
        if _differs(before, now, "machine", name)
    ]


def finish_run_folder(folder: Path, record: Mapping[str, Any]) -> None:
    """Write that a run is finished, then remove what only an unfinished one needs."""
    kept = {key: value for key, value in record.items() if key != "process"}
    write_record(folder, {**kept, "status": "finished"})
    clear_finished(folder)


def clear_finished(folder: Path) -> None:
    """Remove what only an unfinished run needs, unless that was done; the lock must be held."""
    CheckpointFolder(folder / CHECKPOINTS_NAME).clear()
    with telling(folder):
        (folder / LOCK_NAME).unlink(missing_ok=True)


def _differs(before: Mapping[str, Any], now: Mapping[str, Any], *path: str) -> bool:
    for key in path:
        before, now = before.get(key, {}), now.get(key, {})
    return before != now

"""Labeled text from the Hugging Face Hub: asked for once and briefly, read through `datasets`."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from lasttoken.data.files import near_path
from lasttoken.data.folders import SPLIT_OF
from lasttoken.data.parquet import cell_string
from lasttoken.data.rows import Record, RowReader, Table
from lasttoken.data.samples import SAMPLE_DATA
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, ignore

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

# The client's timeout does not cover the look-up of the host's name, which can hang; the thread's
# does. Together they keep a miss below five seconds.
HUB_TIMEOUT_SECONDS = 2.0
_PATIENCE_SECONDS = 3.0

_Answer = Literal["there", "missing", "gated", "unreachable"]


def ask_briefly(question: Callable[[], object]) -> Exception | None:
    """Put one question to the Hub; return what it raised, or None if it was answered in time."""
    faults: list[Exception | None] = []

    def ask() -> None:
        try:
            question()
            faults.append(None)
        except Exception as error:
            # Name look-up, proxy, a sick server, an id that the client refuses: the caller judges.
            faults.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_SECONDS)
    return faults[0] if faults else TimeoutError(f"no answer within {_PATIENCE_SECONDS:g} s")


def check_hub(name: str) -> None:
    """Check within five seconds that a Hub data set is cached or can be fetched.

    Raises:
        DatasetError: it is neither; says what works instead.
    """
    if not _is_cached(name):
        answer = _ask_hub(name)
        if answer != "there":
            raise _hub_miss(name, answer)


def hub_readers(
    name: str, *, skip_bad_rows: bool = False, on_event: EventCallback = ignore
) -> dict[str, RowReader]:
    """Open a Hub data set; returns a reader for each of its labeled splits.

    Raises:
        DatasetError: the data set cannot be fetched or read, or has no usable split.
    """
    answer = _ask_hub(name)
    if answer != "there" and not _is_cached(name):
        raise _hub_miss(name, answer)
    tables = _load(name, offline=answer != "there")
    readers: dict[str, RowReader] = {}
    # Where two splits mean the same, the one of the plain name is read: validation before dev.
    for split, table in sorted(tables.items(), key=lambda item: SPLIT_OF.get(item[0]) != item[0]):
        if split not in SPLIT_OF:
            on_event(Note(f"{name}: split {split!r} ({len(table):,} rows) is left out"))
        elif _is_unlabeled(table):
            on_event(Note(f"{name}: split {split!r} has no labels (all -1): left out"))
        elif SPLIT_OF[split] in readers:
            text = f"{name}: split {split!r} ({len(table):,} rows) is left out: there is another "
            on_event(Note(text + f"{SPLIT_OF[split]} split", is_warning=True))
        else:
            readers[SPLIT_OF[split]] = RowReader(
                Table(f"{name}:{split}", table.column_names, _records(table), num_rows=len(table)),
                skip_bad_rows=skip_bad_rows,
                on_event=on_event,
            )
    if not readers:
        raise DatasetError(
            f"{name}: no labeled split among {', '.join(map(repr, tables))}",
            expected="a split named train, validation or test, with labels",
            remedy="save the rows you want to a .csv or .parquet file, and name that file",
        )
    return readers


def _ask_hub(name: str) -> _Answer:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    # One request, no retries.
    fault = ask_briefly(lambda: HfApi().dataset_info(name, timeout=HUB_TIMEOUT_SECONDS))
    if fault is None:
        return "there"
    if isinstance(fault, GatedRepoError):
        return "gated"
    # Whatever else went wrong: the Hub did not say that the data set is there.
    return "missing" if isinstance(fault, RepositoryNotFoundError) else "unreachable"


def _hub_miss(name: str, answer: _Answer) -> DatasetError:
    if answer == "gated":
        return DatasetError(
            f"{name}: this Hub data set is gated, and your account has no access yet",
            expected="a data set that this machine may download",
            remedy=f"accept its terms at https://huggingface.co/datasets/{name}, "
            "then: hf auth login",
        )
    samples = difflib.get_close_matches(name, SAMPLE_DATA, n=1, cutoff=0.8)
    near = samples[0] if samples else near_path(Path(name))
    hub = "no data set of the Hub" if answer == "missing" else "the Hub cannot be reached"
    return DatasetError(
        f"{name}: no such file or folder, and {hub}",
        expected="a local path, or a Hub data set that is cached or reachable",
        remedy=(f"did you mean {near}? Or: " if near else "")
        + "movie-reviews (the sample), or a local file such as reviews.csv",
    )


def _is_cached(name: str) -> bool:
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or os.path.join(home, "datasets"))
    cache = cache.expanduser()
    wanted = _folded(name.replace("/", "___"))
    # `datasets` turns CamelCase into snake_case here: compare without underscores.
    return cache.is_dir() and any(
        _folded(folder.name) == wanted and any(folder.glob("*/*/*"))
        for folder in cache.iterdir()
        if folder.is_dir()
    )


def _folded(name: str) -> str:
    return name.replace("_", "").casefold()


def _load(name: str, *, offline: bool) -> dict[str, Any]:
    import datasets

    with _quiet(offline=offline):
        try:
            return dict(datasets.load_dataset(name))
        except Exception as error:
            # `datasets` raises errors of a dozen kinds here; its first line tells which.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise DatasetError(
                f"{name}: the Hub data set cannot be loaded: {lines[0]:.200}",
                expected="a data set with one configuration that `datasets` can load",
                remedy="download one of its files by hand, and name that file",
            ) from error


@contextlib.contextmanager
def _quiet(*, offline: bool) -> Iterator[None]:
    import datasets
    import huggingface_hub.constants as hub_constants

    had_bars = not datasets.are_progress_bars_disabled()
    verbosity = datasets.logging.get_verbosity()
    was_offline = datasets.config.HF_HUB_OFFLINE, hub_constants.HF_HUB_OFFLINE
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    if offline:  # otherwise it retries for most of a minute before it looks into its cache
        datasets.config.HF_HUB_OFFLINE = hub_constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub_constants.HF_HUB_OFFLINE = was_offline
        datasets.logging.set_verbosity(verbosity)
        if had_bars:
            datasets.enable_progress_bars()


def _class_names(table: Any) -> dict[str, list[str]]:  # noqa: ANN401 - a `datasets.Dataset`
    features = table.features.items()
    return {name: list(feature.names) for name, feature in features if hasattr(feature, "int2str")}


def _is_unlabeled(table: Any) -> bool:  # noqa: ANN401 - a `datasets.Dataset`
    # Test sets of competitions carry the class -1 in every row.
    names = _class_names(table)
    return bool(names) and all(all(value == -1 for value in table[column]) for column in names)


def _records(table: Any) -> Iterator[Record]:  # noqa: ANN401 - a `datasets.Dataset`
    names = _class_names(table)
    for number, cells in enumerate(table, start=1):
        row: dict[str, str | None] = {}
        for column, cell in cells.items():
            if column in names and cell is not None:
                row[column] = names[column][cell] if cell >= 0 else None
            else:
                row[column] = cell_string(cell)
        yield number, row

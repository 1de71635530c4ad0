"""`history.jsonl`: a line an epoch, also across the parts of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lasttoken.durable import replace_file
from lasttoken.events import EpochEnd, Event, EventCallback, Resumed
from lasttoken.runs.record import write_record
from lasttoken.runs.results import history_row


class HistoryWriter:
    """Pass events on, and keep `history.jsonl` and the record's "resumed" at what they tell.

    The file is written anew each time, so that after a crash it never holds an epoch twice.

    Args:
        on_event: gets every event.
        folder: of the run.
        record: of the run; an entry is added each time that training goes on from a checkpoint.
    """

    def __init__(self, on_event: EventCallback, folder: Path, record: dict[str, Any]) -> None:
        self._on_event = on_event
        self._folder = folder
        self._record = record
        self._epochs: list[EpochEnd] = []

    def __call__(self, event: Event) -> None:
        """Take an event.

        Raises:
            RunError: a file cannot be written.
        """
        if isinstance(event, Resumed):
            self._epochs = list(event.history)
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            found = {"checkpoint": event.checkpoint, "step": event.step, "at": when}
            self._record["resumed"] = [*self._record["resumed"], found]
            write_record(self._folder, {**self._record, "status": "unfinished"})
        if isinstance(event, EpochEnd):
            self._epochs.append(event)
        if isinstance(event, Resumed | EpochEnd):
            lines = [json.dumps(history_row(epoch)) + "\n" for epoch in self._epochs]
            replace_file(self._folder / "history.jsonl", "".join(lines).encode())
        self._on_event(event)

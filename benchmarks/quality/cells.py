"""Cells: a contender, trained once on a subset of a data set; each is kept as a small file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, SCRATCH, SMOKE, write_record

FOLDER = SCRATCH / "smoke" / "quality" if SMOKE else RESULTS / "quality"


@dataclass(frozen=True, order=True)
class Cell:
    """One training.

    Attributes:
        data: name of the data set.
        size: of `sets.SIZES`.
        seed: of the subset and of the training.
        contender: of `contenders.CONTENDERS`.
        candidate: settings that are tried, such as "5e-05x2"; "" is the contender's final run.
    """

    data: str
    size: str
    seed: int
    contender: str
    candidate: str = ""

    @property
    def name(self) -> str:
        """Return it in words."""
        words = f"{self.data} {self.size} seed {self.seed} {self.contender}"
        return f"{words} {self.candidate}" if self.candidate else words

    @property
    def path(self) -> Path:
        """Return the file of its record."""
        folder = FOLDER / self.data / "choice" if self.candidate else FOLDER / self.data
        words = [self.size, f"seed{self.seed}", self.contender, self.candidate]
        return folder / ("-".join(filter(None, words)) + ".json")


def read(cell: Cell) -> dict[str, Any] | None:
    """Return a cell's record, or None."""
    if not cell.path.is_file():
        return None
    record: dict[str, Any] = json.loads(cell.path.read_text(encoding="utf-8"))
    return record


def write(cell: Cell, record: dict[str, Any]) -> None:
    """Keep a cell's record."""
    write_record(cell.path, {**vars(cell), **record})


def truth_path(data: str) -> Path:
    """Return the file with a data set's labels and the true labels of its test examples."""
    return FOLDER / data / "test.json"

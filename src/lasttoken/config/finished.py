"""Settings of the commands that take finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare runs on the test examples that all of them answered, in one report."""

    runs: Annotated[tuple[str, ...], Doc("two or more runs, or folders RUN/evaluations/DATA")]
    output_dir: Annotated[str | None, Doc("folder of the comparison [runs/A-vs-B]")] = None
    overwrite: Annotated[bool, Doc("replace an earlier comparison")] = False


@dataclass(frozen=True, kw_only=True)
class RerunConfig:
    """Repeat a finished run from its record; exit code 0 (the same weights) or 1 (others)."""

    run: Annotated[str, Doc("run folder; it is only read")]
    output_dir: Annotated[str | None, Doc("folder of the new run [RUN-rerun]")] = None
    overwrite: Annotated[bool, Doc("replace an existing run folder")] = False

"""Settings of the commands that take finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lasttoken.settings import check_ranges


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


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a run as one ONNX file that works without torch, if it answers as the run does."""

    run: Annotated[str, Doc("run folder or model folder")]
    format: Annotated[
        Literal["onnx", "onnx-int8"], Doc("fp32, or matrices in 8 bits: a third of the size")
    ] = "onnx"
    output: Annotated[str | None, Doc("folder to write [RUN/exported/FORMAT]")] = None
    data: Annotated[
        str | None, Doc("labeled texts to compare on, as for train [the run's test examples]")
    ] = None
    text_column: Annotated[str | None, Doc("column that holds the text [as in training]")] = None
    label_column: Annotated[str | None, Doc("column that holds the label [as in training]")] = None
    text_pair_column: Annotated[
        str | None, Doc("column that holds a second text [as in training]")
    ] = None
    limit: Annotated[int, Doc("compare on at most this many texts")] = 1_000
    overwrite: Annotated[bool, Doc("replace an earlier export")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: at least one value is out of its range.
        """
        check_ranges(self, positive=("limit",))

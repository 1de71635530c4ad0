"""Settings of the commands that take finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from lasttoken.errors import ConfigError
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


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Examine this machine and anyone's classifier; exit code 0 (sound) or 1 (something to mend).

    Without a model, this machine alone.
    """

    optional_places: ClassVar[tuple[str, ...]] = ("model", "data")

    model: Annotated[str | None, Doc("model folder or run folder, whoever trained it [none]")] = (
        None
    )
    data: Annotated[
        str | None, Doc("labeled text as for train, or a file of lines [built-in texts]")
    ] = None
    repair: Annotated[
        str | None, Doc("write a repaired model folder here, if it passes the examination [none]")
    ] = None
    labels: Annotated[
        str | None, Doc("names of the labels in the order of their ids, A,B,C [the model's]")
    ] = None
    text_column: Annotated[str | None, Doc("column that holds the text [guessed, printed]")] = None
    label_column: Annotated[str | None, Doc("column that holds the label [guessed, printed]")] = (
        None
    )
    padded_length: Annotated[
        int | None, Doc("tokens to which training padded every text, if you know [usual ones]")
    ] = None
    encoding: Annotated[str, Doc("encoding of text files")] = "utf-8"
    limit: Annotated[int, Doc("examine with at most this many examples")] = 200
    json: Annotated[bool, Doc("print what was found as JSON")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value is out of its range, or stands without the one it belongs to.
        """
        check_ranges(self, positive=("limit", "padded_length"))
        for name in ("repair", "labels"):
            if getattr(self, name) is not None and self.model is None:
                raise ConfigError(
                    f"--{name} {getattr(self, name)} without a model",
                    expected="a model folder that is examined",
                    remedy=f"lasttoken doctor MODEL --{name} {getattr(self, name)}",
                )


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """Put a run's model folder, with its model card, on the Hub; texts and predictions stay."""

    run: Annotated[str, Doc("run folder or model folder")]
    name: Annotated[str, Doc("of the model on the Hub: OWNER/NAME, or NAME of your own")]
    dry_run: Annotated[bool, Doc("show what would go, and ask nobody")] = False
    private: Annotated[bool, Doc("make a repository that only you can see")] = False
    overwrite: Annotated[bool, Doc("add a commit to a repository that is there already")] = False

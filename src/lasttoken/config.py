"""The settings: frozen dataclasses that are flags, help, documentation and saved record at once.

A field's annotation holds its type and its help text; its default stands here and nowhere else.
`None` means "decided later, from the data or the model, and recorded in run.json".
Configs stop at the door: only `cli` and `run` receive one; what lies below takes plain arguments.
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from typing_extensions import Doc

from lasttoken.errors import ConfigError

PrecisionName = Literal["auto", "fp32", "bf16"]
InputFormat = Literal["auto", "csv", "tsv", "jsonl", "parquet", "text"]

DEFAULT_MODEL = "gpt2"

LARGEST_SEED = 2**32 - 1  # that numpy and scikit-learn take


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a classifier, measure it beside honest baselines, and write a report."""

    data: Annotated[
        str,
        Doc(
            "labeled text: a folder <label>/*.txt, a .csv/.tsv/.jsonl/.parquet file, a folder of "
            "such files named train/validation/test, a Hub data set id, or movie-reviews"
        ),
    ]
    model: Annotated[str, Doc("Hub id, local folder, .gguf file, or smollm2")] = DEFAULT_MODEL
    output_dir: Annotated[str | None, Doc("run folder [runs/<data>-<model>]")] = None
    text_column: Annotated[str | None, Doc("column that holds the text [guessed, printed]")] = None
    label_column: Annotated[str | None, Doc("column that holds the label [guessed, printed]")] = (
        None
    )
    validation: Annotated[str, Doc("file or folder, or the fraction to set aside")] = "0.1"
    test: Annotated[str, Doc("file or folder, or the fraction to set aside")] = "0.1"
    limit: Annotated[int | None, Doc("train on at most this many examples")] = None
    encoding: Annotated[str, Doc("encoding of text files")] = "utf-8"
    fix_text: Annotated[bool, Doc("repair broken Unicode (ftfy), now and at prediction")] = False
    skip_bad_rows: Annotated[bool, Doc("leave out and count unusable rows")] = False
    max_length: Annotated[int | None, Doc("cut texts at this many tokens [model's limit]")] = None
    prompt: Annotated[str, Doc("put in front of every text, now and at prediction")] = ""
    num_epochs: Annotated[int, Doc("passes over the training examples")] = 3
    batch_size: Annotated[int, Doc("examples of one batch")] = 32
    gradient_accumulation_steps: Annotated[int, Doc("batches added up before a step")] = 1
    learning_rate: Annotated[float, Doc("peak learning rate of AdamW")] = 5e-5
    weight_decay: Annotated[float, Doc("decoupled weight decay of matrices")] = 0.0
    warmup_fraction: Annotated[float, Doc("share of steps that warm up linearly")] = 0.0
    max_grad_norm: Annotated[float, Doc("clip the gradient's norm at this")] = 1.0
    trainable: Annotated[
        str, Doc("full, last-K (the last K blocks), or probe (the head alone, fitted in one pass)")
    ] = "full"
    depth: Annotated[
        str | None, Doc("keep the first N blocks; auto: chosen on the training data [all]")
    ] = None
    early_stopping_patience: Annotated[
        int | None, Doc("stop after this many epochs without a better one [never]")
    ] = None
    checkpoint_minutes: Annotated[
        float, Doc("save a checkpoint after so many minutes, and after each epoch; 0 saves none")
    ] = 10.0
    checkpoint_steps: Annotated[
        int | None, Doc("save a checkpoint also whenever so many steps were taken [never]")
    ] = None
    seed: Annotated[int, Doc("seed of splits, head, order and dropout")] = 123
    precision: Annotated[PrecisionName, Doc("auto: bf16 where the device multiplies it")] = "auto"
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    overwrite: Annotated[bool, Doc("replace an existing run folder")] = False

    def __post_init__(self) -> None:
        """Check every value; all faults are told together.

        Raises:
            ConfigError: at least one value is out of its range.
        """
        check_ranges(
            self,
            positive=(
                "limit", "max_length", "num_epochs", "batch_size", "gradient_accumulation_steps",
                "learning_rate", "max_grad_norm", "early_stopping_patience", "checkpoint_steps",
            ),
            not_negative=("weight_decay", "warmup_fraction", "checkpoint_minutes"),
            below_one=("warmup_fraction",),
            seeds=("seed",),
        )  # fmt: skip
        parse_trainable(self.trainable)
        parse_depth(self.depth)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Score a trained run on other labeled data; writes RUN/evaluations/<data>/."""

    run: Annotated[str, Doc("run folder or model folder")]
    data: Annotated[str, Doc("labeled text, as for train; a test split is used if there is one")]
    text_column: Annotated[str | None, Doc("column that holds the text [as in training]")] = None
    label_column: Annotated[str | None, Doc("column that holds the label [as in training]")] = None
    encoding: Annotated[str, Doc("encoding of text files")] = "utf-8"
    skip_bad_rows: Annotated[bool, Doc("leave out and count unusable rows")] = False
    limit: Annotated[int | None, Doc("score at most this many examples")] = None
    precision: Annotated[PrecisionName, Doc("auto: bf16 where the device multiplies it")] = "auto"
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    overwrite: Annotated[bool, Doc("replace an earlier evaluation on this data")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: at least one value is out of its range.
        """
        check_ranges(self, positive=("limit",))


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Classify texts: labels and probabilities beside the input's own columns."""

    run: Annotated[str, Doc("run folder or model folder")]
    input: Annotated[str, Doc("a .csv/.tsv/.jsonl/.parquet file, a file of plain lines, or -")]
    output: Annotated[str | None, Doc(".csv/.tsv/.jsonl/.parquet [standard output, CSV]")] = None
    format: Annotated[InputFormat, Doc("of the input; auto: by its name, lines for -")] = "auto"
    text_column: Annotated[str | None, Doc("column that holds the text [as in training]")] = None
    encoding: Annotated[str, Doc("encoding of the input")] = "utf-8"
    skip_bad_rows: Annotated[bool, Doc("leave out and count unusable rows")] = False
    precision: Annotated[PrecisionName, Doc("auto: bf16 where the device multiplies it")] = "auto"
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    overwrite: Annotated[bool, Doc("replace an existing output file")] = False


@dataclass(frozen=True, kw_only=True)
class RerunConfig:
    """Repeat a finished run from its record; exit code 0 (the same weights) or 1 (others)."""

    run: Annotated[str, Doc("run folder; it is only read")]
    output_dir: Annotated[str | None, Doc("folder of the new run [RUN-rerun]")] = None
    overwrite: Annotated[bool, Doc("replace an existing run folder")] = False


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Look for what is wrong with labeled text; exit code 0, 1 (warnings) or 2 (errors)."""

    data: Annotated[str, Doc("labeled text, as for train")]
    validation: Annotated[str | None, Doc("file or folder to check beside it")] = None
    test: Annotated[str | None, Doc("file or folder to check beside it")] = None
    model: Annotated[str | None, Doc("tell lengths in its tokens, and what it would cut")] = None
    max_length: Annotated[int | None, Doc("cut texts at this many tokens [model's limit]")] = None
    text_column: Annotated[str | None, Doc("column that holds the text [guessed, printed]")] = None
    label_column: Annotated[str | None, Doc("column that holds the label [guessed, printed]")] = (
        None
    )
    encoding: Annotated[str, Doc("encoding of text files")] = "utf-8"
    json: Annotated[bool, Doc("print the findings as JSON")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value is out of its range, or stands without the one it belongs to.
        """
        check_ranges(self, positive=("max_length",))
        if self.max_length is not None and self.model is None:
            raise ConfigError(
                f"--max-length {self.max_length} without --model",
                expected="a model whose tokens are counted",
                remedy=f"--model {DEFAULT_MODEL} --max-length {self.max_length}",
            )


ConfigT = TypeVar("ConfigT")


def read_config_file(path: str, config_class: type[ConfigT]) -> dict[str, Any]:
    """Read settings from a TOML file for `--config`; keys may use dashes or underscores.

    Raises:
        ConfigError: the file is missing or no TOML, or a key is no setting of `config_class`.
    """
    try:
        with Path(path).open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            f"--config {path}: {error.strerror or error}",
            expected="a readable TOML file",
            remedy="check the path given to --config",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--config {path}: {error}",
            expected="TOML, such as: num_epochs = 2",
            remedy="mend the line named above",
        ) from error
    known = {field.name for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    settings = {key.replace("-", "_"): value for key, value in content.items()}
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"--config {path}: unknown setting {key!r}",
                expected="one of " + ", ".join(sorted(known)),
                remedy=f"did you mean {near[0]!r}?" if near else "remove it",
            )
    return settings


@dataclass(frozen=True)
class Trainable:
    """Which part of a model learns.

    Attributes:
        kind: "full" (all), "last" (the last blocks, the final norm and the head) or "probe" (the
            head).
        num_blocks: K of "last"; None otherwise.
    """

    kind: Literal["full", "last", "probe"]
    num_blocks: int | None = None


def parse_trainable(value: object) -> Trainable:
    """Read the setting `trainable`.

    Raises:
        ConfigError: it is none of full, probe, last-1, last-2 ...
    """
    if value == "full" or value == "probe":
        return Trainable(value)
    match = re.fullmatch(r"last-([1-9][0-9]*)", value) if isinstance(value, str) else None
    if match is None:
        raise ConfigError(
            f"--trainable {value}",
            expected="full, probe, or last-K with K the number of blocks that learn, 1 or more",
            remedy="--trainable last-3",
        )
    return Trainable("last", int(match.group(1)))


def parse_depth(value: object) -> int | Literal["auto"] | None:
    """Read the setting `depth`: a number of blocks, "auto", or None for all of them.

    Raises:
        ConfigError: it is nothing of the kind.
    """
    if value is None:
        return None
    if value == "auto":
        return "auto"
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]*", value):
        return int(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1:
        return int(value)
    raise ConfigError(
        f"--depth {value}",
        expected="auto, or the number of blocks to keep, 1 or more",
        remedy="--depth auto",
    )


def check_ranges(
    config: Any,  # noqa: ANN401 - any of the dataclasses above
    positive: tuple[str, ...] = (),
    not_negative: tuple[str, ...] = (),
    below_one: tuple[str, ...] = (),
    seeds: tuple[str, ...] = (),
) -> None:
    """Check the ranges of a dataclass's numbers; None passes, all faults are told together.

    Raises:
        ConfigError: at least one number is out of its range.
    """
    rules: list[tuple[tuple[str, ...], str, Callable[[float], bool]]] = [
        (positive, "a number above 0", lambda value: value > 0),
        (not_negative, "0 or more", lambda value: value >= 0),
        (below_one, "below 1", lambda value: value < 1),
        (seeds, f"between 0 and {LARGEST_SEED}", lambda value: 0 <= value <= LARGEST_SEED),
    ]
    faults = []
    for names, expected, holds in rules:
        for name in names:
            value = getattr(config, name)
            if value is not None and not holds(value):
                faults.append((f"--{name.replace('_', '-')} {value}", expected))
    if faults:
        raise ConfigError(
            "; ".join(found for found, _ in faults),
            expected="; ".join(f"{found.split()[0]} {expected}" for found, expected in faults),
            remedy="give another value",
        )

"""Settings of prediction: texts in, labels and probabilities out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typing_extensions import Doc

from lasttoken.errors import ConfigError
from lasttoken.settings import check_ranges

PrecisionName = Literal["auto", "fp32", "bf16"]
InputFormat = Literal["auto", "csv", "tsv", "jsonl", "parquet", "text"]
Engine = Literal["local", "ray"]

TextPairColumn = Annotated[str | None, Doc("column that holds a second text [as in training]")]


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Classify texts: labels and probabilities beside the input's own columns."""

    run: Annotated[str, Doc("run folder, model folder or exported folder")]
    input: Annotated[
        tuple[str, ...],
        Doc("a .csv/.tsv/.jsonl/.parquet file, a file of plain lines, or -; or several files"),
    ]
    output: Annotated[str | None, Doc(".csv/.tsv/.jsonl/.parquet [standard output, CSV]")] = None
    format: Annotated[InputFormat, Doc("of the input; auto: by its name, lines for -")] = "auto"
    text_column: Annotated[str | None, Doc("column that holds the text [as in training]")] = None
    text_pair_column: TextPairColumn = None
    encoding: Annotated[str, Doc("encoding of the input")] = "utf-8"
    skip_bad_rows: Annotated[bool, Doc("leave out and count unusable rows")] = False
    precision: Annotated[PrecisionName, Doc("auto: bf16 where the device multiplies it")] = "auto"
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    uncalibrated: Annotated[bool, Doc("probabilities as training left them")] = False
    abstain_below: Annotated[
        float | None, Doc("mark texts whose predicted label is less probable, for a person to read")
    ] = None
    target_accuracy: Annotated[
        float | None, Doc("mark as many texts as it takes for the others to be right so often")
    ] = None
    shard: Annotated[
        str | None, Doc("i/n: only the i-th of n parts of all rows; the outputs joined are all")
    ] = None
    spreadsheet_safe: Annotated[
        bool, Doc("CSV, TSV: an apostrophe before texts that look like formulas")
    ] = False
    engine: Annotated[
        Engine, Doc("this process, or the workers of a Ray cluster (Parquet in; extra: ray)")
    ] = "local"
    num_workers: Annotated[
        int | None, Doc("of --engine ray [one a GPU if there are any, else one a core]")
    ] = None
    overwrite: Annotated[bool, Doc("replace an existing output file")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value is out of its range, or two of them ask for different things.
        """
        names = ("abstain_below", "target_accuracy")
        check_ranges(self, positive=(*names, "num_workers"), below_one=names)
        if not self.input:
            raise ConfigError(
                "Missing from lasttoken predict: INPUT",
                expected="what lasttoken predict --help shows",
                remedy="lasttoken predict --help",
            )
        self._check_scale()
        if self.abstain_below is not None and self.target_accuracy is not None:
            raise ConfigError(
                f"--abstain-below {self.abstain_below} and --target-accuracy "
                f"{self.target_accuracy}",
                expected="one of the two: both say which texts are left to a person",
                remedy="leave one of them out",
            )
        if self.uncalibrated and self.target_accuracy is not None:
            raise ConfigError(
                f"--uncalibrated with --target-accuracy {self.target_accuracy}",
                expected="the calibrated probabilities, for which the thresholds were chosen",
                remedy="leave --uncalibrated out",
            )

    def _check_scale(self) -> None:
        """Check what is about large inputs.

        Raises:
            ConfigError: a value has no meaning, or none beside another.
        """
        parse_shard(self.shard)
        suffix = Path(self.output or "output.csv").suffix.lower()
        if self.spreadsheet_safe and suffix in (".jsonl", ".ndjson", ".json", ".parquet"):
            raise ConfigError(
                f"--spreadsheet-safe with --output {self.output}",
                expected="CSV or TSV: the other formats are not for spreadsheets",
                remedy="leave --spreadsheet-safe out, or write .csv",
            )
        if self.engine == "local" and self.num_workers is not None:
            raise ConfigError(
                f"--num-workers {self.num_workers} without --engine ray",
                expected="workers of a Ray cluster",
                remedy=f"--engine ray --num-workers {self.num_workers}",
            )
        if self.engine == "ray":
            self._check_ray()

    def _check_ray(self) -> None:
        if self.shard is not None:
            raise ConfigError(
                f"--shard {self.shard} with --engine ray",
                expected="one of the two: Ray divides the rows among its workers itself",
                remedy="leave --shard out",
            )
        if self.output is None:
            raise ConfigError(
                "--engine ray without --output",
                expected="a file: Ray itself writes to standard output",
                remedy="--output labels.parquet",
            )
        for path in self.input:
            is_named_so = self.format == "auto" and Path(path).suffix.lower() == ".parquet"
            if path == "-" or not (is_named_so or self.format == "parquet"):
                raise ConfigError(
                    f"--engine ray with {path}",
                    expected="Parquet files, which workers can read from any row on",
                    remedy="write the input as Parquet, or leave --engine ray out",
                )


def parse_shard(shard: str | None) -> tuple[int, int] | None:
    """Return i and n of the setting `shard`, "i/n"; None if it is not given.

    Raises:
        ConfigError: it is nothing of the kind, or i is not between 1 and n.
    """
    if shard is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", shard)
    if match is None or int(match.group(1)) > int(match.group(2)):
        raise ConfigError(
            f"--shard {shard}",
            expected="i/n: the i-th of n parts, i from 1 to n",
            remedy="--shard 1/4, and 2/4, 3/4, 4/4 elsewhere",
        )
    return int(match.group(1)), int(match.group(2))

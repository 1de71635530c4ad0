"""The settings: frozen dataclasses that are flags, help, documentation and saved record at once.

A field's annotation holds its type and its help text; its default stands here and nowhere else.
`None` means "decided later, from the data or the model, and recorded in run.json".
Configs stop at the door: only `cli` and `run` receive one; what lies below takes plain arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lasttoken.config.check import DEFAULT_MODEL, CheckConfig, LabelColumn
from lasttoken.config.finished import (
    CompareConfig,
    DoctorConfig,
    ExportConfig,
    PushConfig,
    RerunConfig,
)
from lasttoken.config.prediction import (
    InputFormat,
    PrecisionName,
    PredictConfig,
    TextPairColumn,
)
from lasttoken.config.tasks import LabelColumns, LabelOrder, LabelSeparator, Task, check_task
from lasttoken.config.tracking import Tracker
from lasttoken.errors import ConfigError
from lasttoken.settings import Sampling, check_learning, check_ranges, parse_depth
from lasttoken.template import LongTexts, check_reading

__all__ = [
    "DEFAULT_MODEL", "CheckConfig", "CompareConfig", "DoctorConfig", "EvaluateConfig",
    "ExplainMethod", "ExportConfig", "InputFormat", "PrecisionName", "PredictConfig", "PushConfig",
    "RerunConfig", "TrainConfig", "TuneConfig",
]  # fmt: skip

ExplainMethod = Literal["leave-one-out", "integrated-gradients", "none"]

# What `train` and `evaluate` are asked to report alike.
_SliceBy = Annotated[str | None, Doc("columns, comma between, by which accuracy is told apart")]
_PrecisionAtLeast = Annotated[
    float | None, Doc("look for thresholds that give every label this precision")
]
_Explain = Annotated[ExplainMethod, Doc("how the words that mattered are found")]
_LabelCheck = Annotated[bool, Doc("look for labels that are probably wrong")]


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
    label_column: LabelColumn = None
    text_pair_column: Annotated[str | None, Doc("column that holds a second text [none]")] = None
    task: Task = "single-label"
    label_separator: LabelSeparator = "|"
    label_columns: LabelColumns = None
    label_order: LabelOrder = None
    validation: Annotated[str, Doc("file or folder, or the fraction to set aside")] = "0.1"
    test: Annotated[str, Doc("file or folder, or the fraction to set aside")] = "0.1"
    limit: Annotated[int | None, Doc("train on at most this many examples")] = None
    encoding: Annotated[str, Doc("encoding of text files")] = "utf-8"
    fix_text: Annotated[bool, Doc("repair broken Unicode (ftfy), now and at prediction")] = False
    skip_bad_rows: Annotated[bool, Doc("leave out and count unusable rows")] = False
    max_length: Annotated[int | None, Doc("tokens that are read at once [model's limit]")] = None
    template: Annotated[str | None, Doc(r'words around texts: "{text}\nSentiment:" [none]')] = None
    long: Annotated[LongTexts, Doc("cut longer texts so, or read them in windows")] = "cut-end"
    window_overlap: Annotated[int | None, Doc("tokens that windows share [a quarter]")] = None
    num_epochs: Annotated[
        int | None, Doc("passes over the training examples [1 to 10, the fewer examples the more]")
    ] = None
    batch_size: Annotated[int | None, Doc("examples of one batch [32; of few 16 or 8]")] = None
    gradient_accumulation_steps: Annotated[int, Doc("batches added up before a step")] = 1
    learning_rate: Annotated[
        float | None,
        Doc("peak of AdamW [0.0576 / the model's width; twice that for last-K, 10 times for lora]"),
    ] = None
    weight_decay: Annotated[float, Doc("decoupled weight decay of matrices")] = 0.0
    warmup_fraction: Annotated[float, Doc("share of steps that warm up linearly")] = 0.0
    max_grad_norm: Annotated[float, Doc("clip the gradient's norm at this")] = 1.0
    trainable: Annotated[
        str,
        Doc(
            "full, last-K (the last K blocks), lora (small adapters beside all blocks), or probe "
            "(the head alone, fitted in one pass)"
        ),
    ] = "full"
    lora_rank: Annotated[int, Doc("rank of the adapters of --trainable lora")] = 16
    lora_alpha: Annotated[float, Doc("what adapters give is multiplied by this / rank")] = 32.0
    lora_dropout: Annotated[float, Doc("dropout of what adapters read")] = 0.0
    class_weights: Annotated[
        str,
        Doc(
            "how much examples of a label count: none, balanced (rare ones more), or "
            "LABEL=WEIGHT,LABEL=WEIGHT"
        ),
    ] = "none"
    focal_gamma: Annotated[
        float, Doc("focal loss: the larger, the less count well predicted examples; 0 is none")
    ] = 0.0
    sampling: Annotated[
        Sampling, Doc("examples of an epoch: all, or balanced: as many of each label")
    ] = "all"
    layer_decay: Annotated[
        float, Doc("each block learns at the rate of the one above it times this")
    ] = 1.0
    gradient_checkpointing: Annotated[
        bool, Doc("compute blocks anew in the backward pass: less memory, more time")
    ] = False
    depth: Annotated[str | None, Doc("keep the first N blocks, or all; auto: by probes [all]")] = (
        None
    )
    early_stopping_patience: Annotated[
        int | None, Doc("stop after this many epochs without a better one [never]")
    ] = None
    checkpoint_minutes: Annotated[
        float, Doc("save a checkpoint after so many minutes, and after each epoch; 0 saves none")
    ] = 10.0
    checkpoint_steps: Annotated[
        int | None, Doc("save a checkpoint also whenever so many steps were taken [never]")
    ] = None
    slice_by: _SliceBy = None
    precision_at_least: _PrecisionAtLeast = None
    explain: _Explain = "leave-one-out"
    label_check: _LabelCheck = False
    tracker: Tracker = None
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
                "precision_at_least", "lora_rank", "lora_alpha", "layer_decay",
            ),
            not_negative=(
                "weight_decay", "warmup_fraction", "checkpoint_minutes", "lora_dropout",
                "focal_gamma", "window_overlap",
            ),
            below_one=("warmup_fraction", "precision_at_least", "lora_dropout"),
            at_most_one=("layer_decay",),
            seeds=("seed",),
        )  # fmt: skip
        check_learning(self)
        parse_depth(self.depth)
        check_reading(self.template, self.long, self.window_overlap)
        check_task(self.task, self.label_separator, self.label_columns, self.label_order)


@dataclass(frozen=True, kw_only=True)
class TuneConfig(TrainConfig):
    """Search for better settings of train on the validation examples; the test stays unseen.

    The settings given are the first trial, and stay where they are not searched.
    """

    output_dir: Annotated[str | None, Doc("folder of the search [runs/<data>-<model>-tune]")] = None
    minutes: Annotated[float, Doc("wall minutes in all; given more of them later, it goes on")] = (
        30.0
    )
    search: Annotated[
        str | None, Doc("settings that are tried, separated by commas [all that can be]")
    ] = None
    overwrite: Annotated[bool, Doc("replace an earlier search")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: at least one value is out of its range, or a tracker is asked for.
        """
        super().__post_init__()
        check_ranges(self, positive=("minutes",))
        if self.tracker is not None:
            raise ConfigError(
                f"tune --tracker {self.tracker}",
                expected="no tracker: trials.jsonl and the screen hold every trial",
                remedy="leave --tracker out, and give it to the train command of the best settings",
            )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Score a trained run on other labeled data; writes RUN/evaluations/<data>/."""

    run: Annotated[str, Doc("run folder or model folder")]
    data: Annotated[str, Doc("labeled text, as for train; a test split is used if there is one")]
    text_column: Annotated[str | None, Doc("column that holds the text [as in training]")] = None
    label_column: Annotated[str | None, Doc("column that holds the label [as in training]")] = None
    text_pair_column: TextPairColumn = None
    label_columns: Annotated[str | None, Doc("columns of 0 and 1 [as in training]")] = None
    encoding: Annotated[str, Doc("encoding of text files")] = "utf-8"
    skip_bad_rows: Annotated[bool, Doc("leave out and count unusable rows")] = False
    limit: Annotated[int | None, Doc("score at most this many examples")] = None
    slice_by: _SliceBy = None
    precision_at_least: _PrecisionAtLeast = None
    explain: _Explain = "leave-one-out"
    label_check: _LabelCheck = False
    precision: Annotated[PrecisionName, Doc("auto: bf16 where the device multiplies it")] = "auto"
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    overwrite: Annotated[bool, Doc("replace an earlier evaluation on this data")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: at least one value is out of its range.
        """
        check_ranges(
            self, positive=("limit", "precision_at_least"), below_one=("precision_at_least",)
        )

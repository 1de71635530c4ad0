"""Settings of `lasttoken check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from lasttoken.config.tasks import LabelColumns, LabelOrder, LabelSeparator, Task, check_task
from lasttoken.errors import ConfigError
from lasttoken.settings import check_ranges

DEFAULT_MODEL = "gpt2"

LabelColumn = Annotated[str | None, Doc("column that holds the label [guessed, printed]")]


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Look for what is wrong with labeled text; exit code 0, 1 (warnings) or 2 (errors)."""

    data: Annotated[str, Doc("labeled text, as for train")]
    validation: Annotated[str | None, Doc("file or folder to check beside it")] = None
    test: Annotated[str | None, Doc("file or folder to check beside it")] = None
    model: Annotated[str | None, Doc("tell lengths in its tokens, and what it would cut")] = None
    max_length: Annotated[int | None, Doc("cut texts at this many tokens [model's limit]")] = None
    text_column: Annotated[str | None, Doc("column that holds the text [guessed, printed]")] = None
    label_column: LabelColumn = None
    text_pair_column: Annotated[str | None, Doc("column that holds a second text [none]")] = None
    task: Task = "single-label"
    label_separator: LabelSeparator = "|"
    label_columns: LabelColumns = None
    label_order: LabelOrder = None
    encoding: Annotated[str, Doc("encoding of text files")] = "utf-8"
    json: Annotated[bool, Doc("print the findings as JSON")] = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value is out of its range, or stands without the one it belongs to.
        """
        check_ranges(self, positive=("max_length",))
        check_task(self.task, self.label_separator, self.label_columns, self.label_order)
        if self.max_length is not None and self.model is None:
            raise ConfigError(
                f"--max-length {self.max_length} without --model",
                expected="a model whose tokens are counted",
                remedy=f"--model {DEFAULT_MODEL} --max-length {self.max_length}",
            )

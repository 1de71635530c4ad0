"""`lasttoken check`: what is wrong with labeled text, before a minute is spent on training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lasttoken.config import CheckConfig
from lasttoken.data.check import check_examples
from lasttoken.data.examples import Example, second_texts
from lasttoken.data.findings import MAX_PLACES, Finding, Place, by_severity
from lasttoken.data.readers import LabeledData, locate_data, read_labeled
from lasttoken.errors import DatasetError
from lasttoken.events import BadRows, Event, EventCallback, Note
from lasttoken.model.backbone import load_tokenizer, read_config, token_limit
from lasttoken.model.reading import Reading
from lasttoken.model.sources import fetch_model, locate_model
from lasttoken.model.tokens import tokenize
from lasttoken.runs.examples import (
    Columns,
    describe_lengths,
    read_alike,
    task_of_settings,
)


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found.

    Attributes:
        data: as given.
        num_examples: by split.
        labels: training examples of each label, the commonest first.
        findings: errors first.
    """

    data: str
    num_examples: Mapping[str, int]
    labels: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """Return 2 if there is an error, else 1 if there is a warning, else 0."""
        severities = {finding.severity for finding in self.findings}
        return 2 if "error" in severities else 1 if "warning" in severities else 0

    def record(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {"schema_version": 1, **dataclasses.asdict(self), "exit_code": self.exit_code}


class _Listener:
    """Hears what the readers tell, and keeps it as findings."""

    def __init__(self, on_event: EventCallback) -> None:
        self._on_event = on_event
        self.findings: list[Finding] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, BadRows):
            places = tuple(Place("", event.file, row) for row in event.rows)
            remedy = "mend them, or give train --skip-bad-rows"
            found = event.text.replace(" skipped; first ", "; ", 1)
            self.findings.append(Finding("bad_rows", "error", found, remedy, event.count, places))
        elif isinstance(event, Note):
            remedy = "check that this is what you mean"
            self.findings.append(
                Finding("reading", "warning" if event.is_warning else "note", event.text, remedy)
            )
        else:
            self._on_event(event)


def run_check(config: CheckConfig, *, on_event: EventCallback) -> CheckOutcome:
    """Read labeled text, skipping no fault unseen, and look for what is wrong with it.

    Args:
        config: the settings.
        on_event: hears progress; what the readers tell becomes findings.

    Raises:
        LastTokenError: a path or model is missing, or a column is not there.
    """
    for source in (config.data, config.validation, config.test):
        if source is not None:
            locate_data(source)
    if config.model is not None:
        locate_model(config.model)
    listener = _Listener(on_event)
    try:
        splits = _read(config, listener)
    except DatasetError as error:
        unreadable = Finding("unreadable", "error", error.found, error.remedy)
        return CheckOutcome(config.data, {}, {}, by_severity([unreadable, *listener.findings]))
    findings = [*listener.findings, *check_examples(splits, task_of_settings(config))]
    if config.model is not None:
        findings += _token_lengths(config, config.model, splits, on_event)
    task = task_of_settings(config)
    labels = Counter(
        name for example in splits.get("train", ()) for name in task.names(str(example.label))
    )
    return CheckOutcome(
        config.data,
        {split: len(examples) for split, examples in splits.items()},
        dict(labels.most_common()),
        by_severity(findings),
    )


def _read(config: CheckConfig, on_event: EventCallback) -> dict[str, Sequence[Example]]:
    given = Columns(config.text_column, config.label_column, config.text_pair_column)
    task = task_of_settings(config)

    def reader(source: str) -> Callable[[Columns], LabeledData]:
        return lambda columns: read_labeled(
            source,
            text_column=columns.text,
            label_column=columns.label,
            pair_column=columns.pair,
            task=task,
            encoding=config.encoding,
            skip_bad_rows=True,  # so that every one is found, and told
            on_event=on_event,
        )

    data = reader(config.data)(given)
    known = Columns(data.text_column, data.label_column, data.pair_column)
    splits: dict[str, Sequence[Example]] = dict(data.splits)
    for split, source in (("validation", config.validation), ("test", config.test)):
        if source is not None:
            other = read_alike(reader(source), given, known, on_event)
            splits[split] = other.splits.get(split) or other.all_examples()
    return splits


def _token_lengths(
    config: CheckConfig,
    model: str,
    splits: Mapping[str, Sequence[Example]],
    on_event: EventCallback,
) -> list[Finding]:
    folder = fetch_model(locate_model(model), on_event)
    tokenizer = load_tokenizer(folder)
    limit = token_limit(read_config(folder), tokenizer)
    max_length = limit if config.max_length is None else min(config.max_length, limit)
    findings = []
    for split, examples in splits.items():
        texts = tokenize(
            tokenizer,
            [example.text for example in examples],
            Reading(max_length),
            pairs=second_texts(examples),
            on_event=on_event,
        )
        cut = [e for e, is_cut in zip(examples, texts.truncated, strict=True) if is_cut]
        findings.append(
            Finding(
                "cut_texts" if cut else "token_lengths",
                "warning" if cut else "note",
                f"{describe_lengths(split, texts)} by {model}",
                "a model that reads longer texts, or shorter texts" if cut else "nothing to do",
                len(cut),
                tuple(Place(split, e.file, e.row) for e in cut[:MAX_PLACES]),
            )
        )
    return findings

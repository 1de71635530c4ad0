"""The texts that an export is compared on: what the run kept for tests, or a file of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lasttoken.config import EvaluateConfig, ExportConfig
from lasttoken.data.examples import Example, second_texts
from lasttoken.data.splits import fingerprint, limit_examples
from lasttoken.errors import LastTokenError, RunError
from lasttoken.estimator import TextClassifier
from lasttoken.events import EventCallback, ignore
from lasttoken.runs.evaluate import read_scored, scored_task
from lasttoken.runs.examples import read_examples
from lasttoken.runs.record import read_record
from lasttoken.runs.recorded import recorded_config

_SEED = 123  # of --limit: the same texts every time


@dataclass(frozen=True)
class CheckTexts:
    """Labeled texts that both models answer.

    Attributes:
        source: what they are, in a few words.
        texts: N strings.
        pairs: N second ones, or None.
        labels: N labels as they are written.
    """

    source: str
    texts: list[str]
    pairs: list[str] | None
    labels: list[str]


def read_check_texts(
    config: ExportConfig, classifier: TextClassifier, on_event: EventCallback
) -> CheckTexts:
    """Return the texts of `--data`; else the run's own test examples, else its validation examples.

    Raises:
        LastTokenError: the data is not as described, is no longer there or has changed, or this is
            no run folder and no data is given.
    """
    as_evaluation = EvaluateConfig(
        run=config.run,
        data=config.data or "",
        text_column=config.text_column,
        label_column=config.label_column,
        text_pair_column=config.text_pair_column,
    )
    task = scored_task(as_evaluation, classifier)
    if config.data is None:
        source, examples = _kept(Path(config.run).expanduser())
    else:
        source = f"the examples of {config.data}"
        read = read_scored(as_evaluation, classifier.loaded_.record, task, on_event)
        examples = read.splits.get("test") or read.all_examples()
    limited = limit_examples(tuple(examples), config.limit, _SEED, ignore, task)
    if not limited:
        raise RunError(
            f"{source}: no examples",
            expected="labeled texts to compare the exported model on",
            remedy="--data FILE",
        )
    return CheckTexts(
        source,
        [example.text for example in limited],
        second_texts(limited),
        [str(example.label) for example in limited],
    )


def _kept(run: Path) -> tuple[str, Sequence[Example]]:
    record = read_record(run)
    if record is None:
        raise RunError(
            f"{run}: no run folder, so there are no texts of its own to compare on",
            expected="labeled texts, on which the exported model is compared with this one",
            remedy="--data FILE",
        )
    try:
        splits = read_examples(recorded_config(run, record)).splits
    except LastTokenError as error:
        raise RunError(
            f"the run's own texts cannot be read again: {error.found}",
            expected="the data that the run was made of",
            remedy="--data FILE, other labeled texts of the same task",
        ) from error
    name = "test" if splits.test else "validation"
    examples = getattr(splits, name)
    if fingerprint(examples) != record["data"][name]["fingerprint"]:
        raise RunError(
            f"the run's {name} examples have changed since: {record['settings']['data']}",
            expected="the data that the run was made of",
            remedy="--data FILE, other labeled texts of the same task",
        )
    return f"the run's {name} examples", examples

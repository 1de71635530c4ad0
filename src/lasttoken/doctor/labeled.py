"""The texts of an examination, and the ids that a stranger's model gives their labels."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lasttoken.config import DoctorConfig
from lasttoken.config.tasks import join_names, split_names
from lasttoken.data.labels import LabelSpec
from lasttoken.data.readers import iter_rows, locate_data, read_labeled
from lasttoken.data.splits import limit_examples
from lasttoken.data.tables import FORMAT_OF
from lasttoken.doctor.texts import built_in_texts
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.events import EventCallback, Note

_SEED = 123  # of --limit: the same examples every time


@dataclass(frozen=True)
class Material:
    """What a classifier is examined with.

    Attributes:
        texts: N of them.
        labels: N true labels, or None.
        source: where they come from, in words.
    """

    texts: list[str]
    labels: list[str] | None
    source: str


def read_material(config: DoctorConfig, on_event: EventCallback) -> Material:
    """Return the texts of DATA, with labels unless it has but one column; or the built-in ones.

    Raises:
        DatasetError: DATA is not there, or cannot be read.
    """
    if config.data is None:
        return Material(built_in_texts(), None, "built-in texts")
    locate_data(config.data)
    texts = _single_column(config)
    if texts is not None:
        return Material(texts[: config.limit], None, f"the first of {config.data}")
    data = read_labeled(
        config.data,
        text_column=config.text_column,
        label_column=config.label_column,
        encoding=config.encoding,
        on_event=on_event,
    )
    examples = tuple(data.splits.get("test") or data.all_examples())
    examples = limit_examples(examples, config.limit, _SEED, on_event)
    labels = [str(example.label) for example in examples]
    return Material([example.text for example in examples], labels, config.data)


def _single_column(config: DoctorConfig) -> list[str] | None:
    """Return the texts of a file of one column, as far as they are needed; else None."""
    path = Path(config.data or "").expanduser()
    if not path.is_file() or path.suffix.lower() not in FORMAT_OF:
        return None
    reader = iter_rows(str(path), encoding=config.encoding)
    if len(reader.columns) != 1:
        return None
    texts = []
    for _, row in reader.require(*reader.columns):
        texts.append(str(row[reader.columns[0]]))
        if len(texts) == config.limit:
            break
    return texts


def label_names(config: DoctorConfig, spec: LabelSpec, *, is_ours: bool) -> tuple[str, ...]:
    """Return the names of the labels in the order of their ids: those given, or the model's.

    Raises:
        ConfigError: names are given for a model that has its own record, or not one a label.
    """
    if config.labels is None:
        return spec.labels
    names = split_names(config.labels, keep_blank=True)
    if is_ours:
        raise ConfigError(
            f"--labels {config.labels}: the labels of this model are named in lasttoken.json too",
            expected="a model that was not made by lasttoken",
            remedy="leave --labels out",
        )
    if len(names) != len(spec.labels) or len(set(names)) != len(names) or not all(names):
        raise ConfigError(
            f"--labels {config.labels}: {len(names)} names",
            expected=f"{len(spec.labels)} different ones, in the order of the ids of "
            + ", ".join(spec.labels[:8]),
            remedy="--labels " + ",".join(f"NAME{number}" for number in range(len(spec.labels))),
        )
    return names


def label_ids(
    material: Material, names: Sequence[str], spec: LabelSpec, on_event: EventCallback
) -> NDArray[np.int64] | None:
    """Return the ids (N,) of the true labels; None where there are none that can be right or wrong.

    Labels that are written as ids ("0", "1", or "LABEL_0") are taken for ids, which is told.

    Raises:
        DatasetError: a label is none of the model's.
    """
    if material.labels is None:
        return None
    if spec.kind in ("multi_label", "regression"):
        on_event(Note("labels are not used: accuracy is told of models with one label a text"))
        return None
    found = set(material.labels)
    known = {name: label_id for label_id, name in enumerate(names)}
    if not found <= set(known):
        for form in ("{}", "LABEL_{}"):
            written = {form.format(label_id): label_id for label_id in range(len(names))}
            if found <= set(written):
                known = written
                shown = ", ".join(f"{label} is {names[i]}" for label, i in list(known.items())[:8])
                on_event(Note(f"the labels of DATA are taken for ids: {shown}"))
                break
        else:
            strange = sorted(found - set(known))
            wanted = shlex.quote(join_names(sorted(found)[: len(names)]))
            raise DatasetError(
                f"{material.source}: the label {strange[0]!r} is none of the model's",
                expected="labels " + ", ".join(map(repr, names[:8])),
                remedy=f"--labels {wanted}, in the order of the model's ids",
            )
    return np.array([known[label] for label in material.labels], dtype=np.int64)

"""The sample reviews as examples, with a test split that no seed moves."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lasttoken.data.examples import Example, fold_text
from lasttoken.data.samples import fetch_sample
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, Progress, ignore

NAME = "movie-reviews"

_NUM_LABEL = {"positive": 5242, "negative": 5326}
_NUM_TEST_LABEL = 1000


def read_movie_reviews(on_event: EventCallback = ignore) -> dict[str, tuple[Example, ...]]:
    """Return the 10,568 labeled sentences as the splits "train" and "test" (2,000).

    Raises:
        DatasetError: the sample cannot be fetched.
    """
    examples, num_neutral = parse_movie_reviews(fetch_sample(NAME, on_event))
    on_event(Note(f"{NAME}: {num_neutral} sentences of sentiment 0 are left out"))
    on_event(Progress("read", len(examples), len(examples), "rows"))
    counts = {label: sum(example.label == label for example in examples) for label in _NUM_LABEL}
    if counts != _NUM_LABEL:
        raise DatasetError(
            f"{NAME}: {counts} sentences",
            expected=f"{_NUM_LABEL}",
            remedy="delete the sample from the cache folder, so that it is fetched anew",
        )
    test = fixed_test_rows(examples, _NUM_TEST_LABEL)
    return {
        "train": tuple(example for example in examples if example.row not in test),
        "test": tuple(example for example in examples if example.row in test),
    }


def parse_movie_reviews(path: Path) -> tuple[list[Example], int]:
    r"""Read id, sentiment and text, separated by tabs; returns examples and the zeros dropped.

    The file is UTF-8 (it decodes, and its multi-byte characters read as "cliché", "Almodóvar"),
    its lines end in \r\n, and quotes in it mean nothing.
    """
    lines = path.read_bytes().decode("utf-8").removesuffix("\r\n").split("\r\n")
    examples = []
    num_neutral = 0
    for row, line in enumerate(lines[1:], start=1):
        number, sentiment, text = line.split("\t")
        score = float(sentiment)
        if score == 0:
            num_neutral += 1
            continue
        label = "positive" if score > 0 else "negative"
        extra = {"id": number, "sentiment": sentiment}
        examples.append(Example(text, label, file=NAME, row=row, extra=extra))
    return examples, num_neutral


def fixed_test_rows(examples: list[Example], num_label: int) -> set[int]:
    """Choose `num_label` examples of every label by the checksum of their texts; returns rows.

    The choice depends on the texts alone: no seed, order or version moves it. Copies of one text
    stay together; copies with different labels stay out.
    """
    copies: dict[str, list[Example]] = {}
    for example in examples:
        copies.setdefault(fold_text(example.text), []).append(example)
    wanted = {str(example.label): num_label for example in examples}
    rows: set[int] = set()
    for text in sorted(copies, key=lambda text: hashlib.sha256(text.encode()).digest()):
        members = copies[text]
        label = str(members[0].label)
        if {member.label for member in members} == {label} and wanted[label] >= len(members):
            wanted[label] -= len(members)
            rows.update(member.row for member in members)
    return rows

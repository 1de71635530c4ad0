"""Examples out of Python objects."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from lasttoken.data.examples import Example, examples_from_python
from lasttoken.errors import DatasetError


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "b"],
        ("a", "b"),
        np.array(["a", "b"]),
        np.array(["a", "b"], dtype=object),
        pd.Series(["a", "b"]),
        datasets.Dataset.from_dict({"text": ["a", "b"]})["text"],
        iter(["a", "b"]),
    ],
    ids=["list", "tuple", "array", "object-array", "series", "column", "iterator"],
)
def test_any_sequence_of_texts_is_taken(texts: Any) -> None:
    examples = examples_from_python(texts, ["x", "y"])
    assert examples == (Example("a", "x", row=1), Example("b", "y", row=2))
    assert type(examples[0].text) is str


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("01", "01"),
        (1, "1"),
        (True, "True"),
        (np.int64(3), "3"),
        (np.bool_(False), "False"),
        (np.str_("x"), "x"),
        (1.0, "1.0"),
    ],
)
def test_labels_become_strings(label: object, expected: str) -> None:
    assert examples_from_python(["a"], [label])[0].label == expected


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ("a text", "texts is one str"),
        ({"a": 1}, "texts is one dict"),
        (5, "texts is one int"),
        (np.array([["a"]]), "texts is one ndarray of 2 dimensions"),
        (pd.DataFrame({"text": ["a"]}), "texts is one DataFrame"),
        (["a", None], r"texts\[1\] is missing"),
        (pd.Series(["a", None]), r"texts\[1\] is missing"),
        (["a", float("nan")], r"texts\[1\] is missing"),
        (["a", pd.NA], r"texts\[1\] is missing"),
        (["a", 7], r"texts\[1\] is of type int: 7"),
        ([b"a"], r"texts\[0\] is of type bytes"),
        (["\ud800"], r"texts\[0\] holds half a surrogate pair"),
        ([{"text": "a"}, {"body": "b"}], r"texts\[1\] has no 'text': \['body'\]"),
    ],
)
def test_texts_that_are_none_are_named(texts: Any, found: str) -> None:
    with pytest.raises(DatasetError, match=found):
        examples_from_python(texts)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["x"], "2 texts but 1 labels"),
        ("xy", "labels is one str"),
        (["x", None], r"labels\[1\] is missing"),
        (np.array([1.0, np.nan]), r"labels\[1\] is missing"),
        (["x", ""], r"labels\[1\] is empty"),
        (["x", ["y"]], r"labels\[1\] is of type list"),
    ],
)
def test_labels_that_are_none_are_named(labels: Any, found: str) -> None:
    with pytest.raises(DatasetError, match=found):
        examples_from_python(["a", "b"], labels)


def test_mappings_bring_their_labels_and_other_columns() -> None:
    items = [{"text": "a", "label": 1, "id": 5}, {"text": "b", "label": "y", "id": None}]
    assert examples_from_python(items) == (
        Example("a", "1", row=1, extra={"id": "5"}),
        Example("b", "y", row=2),
    )


def test_a_data_set_with_class_labels_gives_their_names() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    data = datasets.Dataset.from_dict({"text": ["a"], "label": [1]}, features=features)
    assert examples_from_python(data)[0].label == "pos"


def test_texts_alone_have_no_labels() -> None:
    assert examples_from_python(["a", ""]) == (Example("a", row=1), Example("", row=2))
    assert examples_from_python([]) == ()

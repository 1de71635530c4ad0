"""Slices: groups are found, and a group that is worse is named."""

from __future__ import annotations

import numpy as np

from lasttoken.data.examples import Example
from lasttoken.evaluation.failures import confident_errors, confused_pairs
from lasttoken.evaluation.slices import column_values, length_ranges, slices_dict


def test_a_slice_made_worse_on_purpose_is_found_and_no_other() -> None:
    rng = np.random.default_rng(0)
    topics = rng.choice(["news", "sport", "arts", "science"], size=2_000)
    right = rng.random(2_000) < np.where(topics == "arts", 0.7, 0.9)
    found = slices_dict(right, {"column topic": topics.tolist(), "half": ["a", "b"] * 1_000})
    assert [(each["by"], each["value"]) for each in found if each["is_worse"]] == [
        ("column topic", "arts")
    ]
    assert sum(each["num_examples"] for each in found if each["by"] == "half") == 2_000


def test_equal_slices_are_called_worse_in_at_most_one_of_twenty_cases() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        right = rng.random(400) < 0.85
        groups = {name: rng.choice(list("abcd"), size=400).tolist() for name in ("x", "y", "z")}
        alarms += any(each["is_worse"] for each in slices_dict(right, groups))
    assert alarms <= 17  # 10 expected at most; 17 or more happens in 1 of 50 such tests


def test_a_slice_that_is_all_there_is_has_no_others() -> None:
    (only,) = slices_dict(np.array([True, False]), {"label": ["a", "a"]})
    assert (only["accuracy"], only["others_accuracy"], only["p_value"]) == (0.5, None, None)
    assert not only["is_worse"]


def test_lengths_are_told_in_five_ranges_in_their_order() -> None:
    lengths = np.arange(1, 101)
    ranges = length_ranges(lengths)
    found = slices_dict(np.ones(100, dtype=bool), {"length": ranges})
    assert [each["value"] for each in found] == [
        "1 to 20 tokens", "21 to 40 tokens", "41 to 60 tokens", "61 to 80 tokens",
        "81 to 100 tokens",
    ]  # fmt: skip
    assert sum(each["num_examples"] for each in found) == 100
    assert set(length_ranges(np.full(7, 12))) == {"12 tokens"}


def test_columns_of_many_numbers_become_ranges_and_of_many_words_their_commonest() -> None:
    years = column_values([str(1900 + n) for n in range(100)])
    assert sorted(set(years))[0] == "1900 to 1920"
    assert len(set(years)) == 5
    prices = column_values([str(n / 7) for n in range(100)])
    assert any(value.startswith("above ") for value in prices)
    words = column_values([f"word {n % 30}" for n in range(300)] + ["word 1"] * 9)
    assert len(set(words)) == 21
    assert "(others)" in words
    assert column_values(["a"] * 5 + ["b", None]) == ["a"] * 5 + ["(others)", "(missing)"]


def test_nan_in_a_column_of_numbers_keeps_it_a_column_of_words() -> None:
    assert "(others)" in column_values([str(n) for n in range(40)] + ["nan"])


def test_the_surest_errors_come_first_and_huge_texts_are_passed_over() -> None:
    texts = ["short", "x" * 300_000, "other", "right"]
    examples = [Example(text, "a", "f.csv", row) for row, text in enumerate(texts, 1)]
    probs = np.array([[0.3, 0.7], [0.1, 0.9], [0.2, 0.8], [0.9, 0.1]])
    found = confident_errors(examples, np.zeros(4, dtype=np.int64), probs, ("a", "b"))
    assert found.rows.tolist() == [2, 0]
    assert [entry["probability"] for entry in found.entries] == [0.8, 0.7]
    assert (found.num_errors, found.num_too_long) == (3, 1)


def test_pairs_are_ordered_by_count_then_share_and_bring_their_surest_texts() -> None:
    ids = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([1, 1, 0, 0, 1, 0])
    probs = np.full((6, 3), 0.1)
    probs[np.arange(6), predicted] = [0.5, 0.8, 0.8, 0.8, 0.8, 0.8]
    examples = [Example(f"text {n}", "abc"[ids[n]], "f.csv", n) for n in range(6)]
    found = confused_pairs(examples, ids, probs, ("a", "b", "c"))
    assert [(p["true"], p["predicted"], p["count"], round(p["share"], 2)) for p in found] == [
        ("a", "b", 2, 0.67), ("c", "a", 1, 1.0), ("b", "a", 1, 0.5),
    ]  # fmt: skip
    assert [each["text"] for each in found[0]["examples"]] == ["text 1", "text 0"]

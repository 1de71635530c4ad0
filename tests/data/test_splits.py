"""Splits: every example in exactly one, copies together, nothing decided in silence."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lasttoken.data.examples import Example, fold_text
from lasttoken.data.splits import Splits, fingerprint, split_examples
from lasttoken.data.unicode import check_unicode, fix_texts
from lasttoken.errors import DatasetError


def make(num: int, labels: str = "xy", prefix: str = "text") -> list[Example]:
    return [
        Example(f"{prefix} {n}", labels[n % len(labels)], "data.csv", n + 1) for n in range(num)
    ]


def no_file(path: str, split: str) -> list[Example]:
    raise DatasetError(f"{path}: no such file or folder", expected="a path", remedy="check it")


def split(splits: dict[str, list[Example]], **changed: Any) -> Splits:
    return split_examples(splits, **{"seed": 1, "read_other": no_file, **changed})


def test_fractions_are_stratified_seeded_and_in_order() -> None:
    train = make(200, "xxxy")
    parts = split({"train": train})
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [160, 20, 20]
    assert Counter(e.label for e in parts.test) == {"x": 15, "y": 5}
    assert [e.row for e in parts.train] == sorted(e.row for e in parts.train)
    assert parts == split({"train": train})
    assert parts != split({"train": train}, seed=2)


def test_the_test_split_does_not_depend_on_the_validation_fraction() -> None:
    train = make(100)
    assert split({"train": train}).test == split({"train": train}, validation="0.3").test


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["A b", "a  B", "c", "C", *map(str, range(40))]), st.booleans()),
        min_size=20,
        max_size=120,
    ),
    st.integers(0, 2**32 - 1),
)
def test_every_example_lands_in_one_split_and_copies_stay_together(
    rows: list[tuple[str, bool]], seed: int
) -> None:
    train = [Example(text, str(label), row=n) for n, (text, label) in enumerate(rows)]
    try:
        parts = split({"train": train}, validation="0.2", test="0.2", seed=seed)
    except DatasetError:
        assume(False)
    pieces = (parts.train, parts.validation, parts.test)
    assert sorted(e.row for piece in pieces for e in piece) == list(range(len(train)))
    texts = [{fold_text(e.text) for e in piece} for piece in pieces]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]


def test_a_split_of_the_data_wins_over_the_default_and_a_path_over_it() -> None:
    own = make(10, prefix="own")
    other = make(10, prefix="other")
    splits = {"train": make(100), "test": own, "validation": own}
    assert split(splits).test == tuple(own)
    assert len(split(splits).train) == 100
    parts = split(splits, test="other.csv", read_other=lambda path, name: other)
    assert (parts.test, parts.validation) == (tuple(other), tuple(own))


def test_a_fraction_asked_for_leaves_the_datas_own_split_out_with_a_warning() -> None:
    events: list[Any] = []
    parts = split({"train": make(100), "test": make(7)}, test="0.2", on_event=events.append)
    assert len(parts.test) == 20
    assert events[0].text == "--test 0.2: the data's own test split is not used"
    assert events[0].is_warning


def test_a_label_with_one_distinct_text_stays_in_training() -> None:
    train = [*make(60), Example("Rare", "z"), Example(" rare ", "z")]
    events: list[Any] = []
    parts = split({"train": train}, on_event=events.append)
    assert sum(example.label == "z" for example in parts.train) == 2
    assert [event.text for event in events] == [
        "too few distinct texts for every split, so none is set aside for test or validation: "
        "'z' (1)"
    ]
    assert events[0].is_warning


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from(["0.1", "0.2", "0.3"]),
    st.integers(0, 2**32 - 1),
)
def test_every_split_has_every_label_of_which_there_are_as_many_distinct_texts_as_splits(
    rare: list[int], fraction: str, seed: int
) -> None:
    counts = {"x": 100, "y": 60, **{f"rare {n}": count for n, count in enumerate(rare)}}
    train = [
        Example(f"{label} {n}", label, row=n) for label, own in counts.items() for n in range(own)
    ]
    events: list[Any] = []
    parts = split(
        {"train": train}, validation=fraction, test=fraction, seed=seed, on_event=events.append
    )
    assert len(parts.test) == len(parts.validation) == round(float(fraction) * len(train))
    told = " ".join(event.text for event in events)
    for label, count in counts.items():
        has = [any(e.label == label for e in part)
               for part in (parts.train, parts.test, parts.validation)]  # fmt: skip
        assert has == [True, count > 1, count > 2]
        assert (f"'{label}' ({count})" in told) == (count < 3)


def test_a_label_that_stands_on_texts_of_another_label_only_stays_in_training() -> None:
    for seed in range(10):
        mixed = [*make(60), Example("text 0", "x"), Example("text 0", "z")]
        parts = split({"train": mixed}, seed=seed, validation="0.2", test="0.3")
        assert [e.text for e in parts.train if e.label == "z"] == ["text 0"], seed


@pytest.mark.parametrize(("num", "works"), [(10, "0.15"), (8, "0.19")])
def test_fractions_too_small_to_stratify_suggest_ones_that_work(num: int, works: str) -> None:
    train = {"train": make(num)}
    with pytest.raises(
        DatasetError, match=f"of {num} distinct texts is 1 and 1, for 2 labels"
    ) as e:
        split(train)
    assert e.value.remedy == f"--test {works} --validation {works}"
    split(train, validation=works, test=works)


def test_a_refusal_counts_the_labels_and_texts_that_it_compares() -> None:
    alone = [Example(f"alone {n}", f"label {n}") for n in range(10)]
    with pytest.raises(DatasetError) as caught:
        split({"train": [*make(10), *alone]}, test="0.05")
    assert caught.value.found == (
        "--test 0.05 --validation 0.1 of 20 distinct texts is 1 and 2, for 2 labels; "
        "10 more with one text each stay in training"
    )
    with pytest.raises(DatasetError) as caught:
        split({"train": make(20)}, test="0.4", validation="0.55")
    assert caught.value.found == (
        "--test 0.4 --validation 0.55 of 20 distinct texts is 8 and 11, which leaves 1 to train "
        "on, for 2 labels"
    )
    with pytest.raises(DatasetError) as caught:
        split({"train": [*alone, *alone]})
    assert caught.value.found == "none of the 10 labels has two distinct texts"


def test_data_too_small_for_any_fraction_asks_for_files() -> None:
    with pytest.raises(DatasetError) as caught:
        split({"train": make(4)})
    assert caught.value.remedy == "--test FILE --validation FILE"


@pytest.mark.parametrize("value", ["0", "1.5", "1", "-0.1", "nan", "inf"])
def test_a_fraction_out_of_range_names_its_flag(value: str) -> None:
    with pytest.raises(DatasetError, match=f"--validation {value}: out of range"):
        split({"train": make(50)}, validation=value)


def test_a_missing_file_names_its_flag() -> None:
    with pytest.raises(DatasetError, match=r"--test abc.csv: no such file"):
        split({"train": make(50)}, test="abc.csv")


def test_a_label_unknown_to_training_is_named_with_its_place() -> None:
    other = [Example("a", "x", "test.csv", 1), Example("b", "X", "test.csv", 2)]
    with pytest.raises(DatasetError, match=r"label 'X' of 1 test .* first in test.csv, row 2"):
        split({"train": make(50), "test": other})


def test_one_label_only_is_refused() -> None:
    with pytest.raises(DatasetError, match="one label only: 'x'"):
        split({"train": make(50, "x")})


def test_data_without_training_examples_is_refused() -> None:
    with pytest.raises(DatasetError, match="no training examples; there are test"):
        split({"test": make(50)})


def test_an_empty_validation_split_is_refused() -> None:
    with pytest.raises(DatasetError, match="no validation examples"):
        split({"train": make(50), "validation": []})


def test_texts_in_training_and_test_are_counted() -> None:
    events: list[Any] = []
    test = [Example("TEXT  3", "x"), Example("new", "y")]
    split({"train": make(50), "test": test}, on_event=events.append)
    assert [e.text for e in events] == ["1 of 2 test texts stand in the training data too"]


def test_limit_cuts_training_only_and_keeps_every_label() -> None:
    train = make(300, "xxxxxxxxxy")
    whole = split({"train": train})
    parts = split({"train": train}, limit=20)
    assert Counter(e.label for e in parts.train) == {"x": 18, "y": 2}
    assert (parts.validation, parts.test) == (whole.validation, whole.test)
    assert {e.row for e in parts.train} <= {e.row for e in whole.train}
    assert {e.label for e in split({"train": train}, limit=2).train} == {"x", "y"}
    assert Counter(e.label for e in split({"train": train}, limit=5).train) == {"x": 4, "y": 1}
    assert split({"train": train}, limit=10_000) == whole
    with pytest.raises(DatasetError, match="--limit 1: fewer examples than the 2 labels"):
        split({"train": train}, limit=1)


def test_the_fingerprint_tells_order_and_boundaries() -> None:
    a, b = Example("ab", "c"), Example("b", "ca")
    prints = {fingerprint(x) for x in ([a, b], [b, a], [a], [Example("a", "bc")], [Example("ab")])}
    assert len(prints) == 5
    assert fingerprint([a]) == fingerprint([Example("ab", "c", "elsewhere.csv", 9)])


def test_broken_unicode_is_counted_and_repaired_on_request() -> None:
    examples = [Example("plain"), Example("clich\u00c3\u00a9", "x", "f.csv", 3)]
    events: list[Any] = []
    assert check_unicode(examples, fix=False, on_event=events.append) == tuple(examples)
    assert "1 text holds" in events[0].text
    assert "--fix-text" in events[0].text
    fixed = check_unicode(examples, fix=True, on_event=events.append)
    assert fixed == (examples[0], Example("clich\u00e9", "x", "f.csv", 3))
    assert not check_unicode(fixed, fix=False, on_event=events.append)[0].label
    assert len(events) == 2


@settings(max_examples=300)
@given(st.text(st.characters(max_codepoint=0xFF), max_size=30))
def test_the_shortcut_agrees_with_ftfy(text: str) -> None:
    import ftfy

    assert fix_texts([text]) == [ftfy.fix_text(text)]

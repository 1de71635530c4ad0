"""Labels of the four kinds of tasks: collected, encoded, decided, and written back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from lasttoken.data.labels import LabelSpec
from lasttoken.data.losses import IGNORED_LABEL
from lasttoken.data.written import LabelKind
from lasttoken.errors import DatasetError

SETS = ["joy|fear", "", "anger", "fear|joy"]
KINDS: dict[LabelKind, list[str]] = {
    "single_label": ["b", "a", "c", "a"],
    "multi_label": SETS,
    "ordinal": ["10", "9", "2.5", "9"],
    "regression": ["3", "-0.5", "1e2", "0"],
}


def test_labels_are_ordered_by_code_point_and_ordinal_numbers_by_value() -> None:
    assert LabelSpec.from_labels(["9", "10"]).labels == ("10", "9")
    assert LabelSpec.from_labels(["9", "10"], "ordinal").labels == ("9", "10")
    order = ("low", "mid", "high")
    assert LabelSpec.from_labels(["mid", "high", "low"], "ordinal", order=order).labels == order


def test_sets_give_each_of_their_labels() -> None:
    spec = LabelSpec.from_labels(SETS, "multi_label")
    assert (spec.labels, spec.num_logits) == (("anger", "fear", "joy"), 3)
    assert spec.encode(SETS).tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1]]


def test_named_labels_stand_as_named_even_if_none_of_the_sets_has_them() -> None:
    spec = LabelSpec.from_labels(["b"], "multi_label", order=("b", "a"))
    assert spec.labels == ("b", "a")


def test_numbers_are_divided_by_their_root_mean_square() -> None:
    spec = LabelSpec.from_labels(["3", "-4", "5"], "regression", name="stars")
    assert (spec.labels, spec.num_logits) == (("stars",), 1)
    assert spec.scale == pytest.approx(math.sqrt(50 / 3))
    assert spec.encode(["3"]).tolist() == pytest.approx([3 / spec.scale])
    assert spec.probs(torch.tensor([[2.0]])).tolist() == [[pytest.approx(2 * spec.scale)]]


def test_huge_numbers_have_a_scale_that_a_float_can_hold() -> None:
    assert LabelSpec.from_labels(["1e29", "-1e29"], "regression").scale == pytest.approx(1e29)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("single_label", "single_label_classification"),
        ("ordinal", "single_label_classification"),
        ("multi_label", "multi_label_classification"),
        ("regression", "regression"),
    ],
)
def test_the_task_has_the_name_that_transformers_knows(kind: LabelKind, name: str) -> None:
    assert LabelSpec(("a",), kind).problem_type == name


@pytest.mark.parametrize("kind", KINDS)
def test_labels_survive_encoding_and_naming(kind: LabelKind) -> None:
    spec = LabelSpec.from_labels(KINDS[kind], kind)
    targets = spec.encode(KINDS[kind])
    if kind == "regression":
        named = spec.names(spec.decide(spec.probs(targets[:, None])))
        assert [float(name) for name in named] == pytest.approx([float(x) for x in KINDS[kind]])
        return
    if kind == "multi_label":
        assert spec.names(spec.decide(targets)) == ["fear|joy", "", "anger", "fear|joy"]
        return
    assert spec.names(targets) == KINDS[kind]


def test_losses_are_those_of_torch_summed_over_examples() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3)
    ids, sets, numbers = torch.tensor([0, 2, 1, 1]), torch.rand(4, 3).round(), torch.randn(4)
    single = LabelSpec(("a", "b", "c")).loss_sum(logits, ids)
    assert single == pytest.approx(float(functional.cross_entropy(logits, ids)) * 4)
    multi = LabelSpec(("a", "b", "c"), "multi_label").loss_sum(logits, sets)
    assert multi == pytest.approx(float(torch.nn.BCEWithLogitsLoss()(logits, sets)) * 4)
    squared = LabelSpec(("x",), "regression").loss_sum(logits[:, :1], numbers)
    assert squared == pytest.approx(float(torch.nn.MSELoss()(logits[:, 0], numbers)) * 4)


def test_the_ordinal_loss_is_the_papers_and_least_where_the_order_is_respected() -> None:
    spec = LabelSpec(("low", "mid", "high"), "ordinal")
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    weights = [math.exp(-distance) for distance in (0, 1, 2)]
    soft = torch.tensor([[weight / sum(weights) for weight in weights]])
    expected = -(soft * logits.log_softmax(dim=1)).sum()
    assert spec.loss_sum(logits, torch.tensor([0])) == pytest.approx(float(expected))
    near, far = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, 2.0]])
    low = torch.tensor([0])
    assert spec.loss_sum(near, low) < spec.loss_sum(far, low)


@pytest.mark.parametrize("kind", KINDS)
def test_a_filled_place_has_no_loss_and_no_gradient(kind: LabelKind) -> None:
    spec = LabelSpec.from_labels(KINDS[kind], kind)
    targets = spec.encode(KINDS[kind])
    logits = torch.randn(4, spec.num_logits, requires_grad=True)
    alone = spec.loss_sum(logits[:3], targets[:3])
    targets[3] = IGNORED_LABEL
    loss = spec.loss_sum(logits, targets)
    assert loss.detach() == pytest.approx(float(alone.detach()))
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[3].any()
    assert logits.grad[:3].any()


def test_a_number_that_looks_like_a_filled_place_counts() -> None:
    spec = LabelSpec(("x",), "regression")
    assert spec.loss_sum(torch.zeros(1, 1), spec.encode(["-100"])) == pytest.approx(10_000)


def test_a_label_is_given_from_its_threshold_on_and_from_a_half_where_it_has_none() -> None:
    spec = LabelSpec(("a", "b", "c"), "multi_label")
    probs = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)
    assert spec.decide(probs).tolist() == [[False, True, True]]
    assert spec.decide(probs, [0.2, None, 0.95]).tolist() == [[True, True, False]]


@given(st.lists(st.sets(st.text('ab ,["', min_size=1), max_size=4), min_size=1))
def test_any_sets_of_labels_without_the_separator_survive(sets: list[set[str]]) -> None:
    written = ["|".join(sorted(each)) for each in sets]
    if not any(written):
        return
    spec = LabelSpec.from_labels(written, "multi_label")
    assert spec.names(spec.encode(written)) == written


@pytest.mark.parametrize(
    ("kind", "labels", "settings", "lines"),
    [
        ("single_label", ["a", "a"], {},
         ("the training examples have one label only: 'a'", "at least two", "check --lab")),
        ("multi_label", ["", ""], {},
         ("none of the 2 training examples has a label", "at least one", "check --lab")),
        ("multi_label", ["a", "c"], {"order": ("a", "b")},
         ("label 'c' is unknown", "one of 'a', 'b'", "remove it")),
        ("ordinal", ["low", "high"], {},
         ("ordinal label 'high' is no finite number, so the order", "numbers, which",
          "--label-order high,low")),
        ("ordinal", ["1", "1.0", "2"], {},
         ("ordinal labels '1' and '1.0' are the same number", "one way", "write '1.0' as '1'")),
        ("ordinal", ["low", "hgh"], {"order": ("low", "high")},
         ("label 'hgh' is unknown", "one of 'low', 'high'", "did you mean 'high'?")),
        ("ordinal", ["low", "high"], {"order": ("low", "mid", "high")},
         ("--label-order low,mid,high: the training data has no label 'mid'", "each of its labels",
          "--label-order with the labels")),
        ("ordinal", ["low", "high"], {"order": ("low", "high", "low")},
         ("--label-order low,high,low: the training data cannot order 'low' twice", "each", "--l")),
        ("regression", ["3", "many"], {},
         ("label 'many' is no finite number", "numbers such as", "mend the label")),
        ("regression", ["3", "nan"], {}, ("label 'nan' is no finite number", "numbers", "mend")),
        ("regression", ["3", "inf"], {}, ("label 'inf' is no finite number", "numbers", "mend")),
        ("regression", ["3", "1_0"], {}, ("label '1_0' is no finite number", "numbers", "mend")),
        ("regression", ["3", "3.0"], {}, ("the training examples have one label", "at", "check")),
    ],
)  # fmt: skip
def test_labels_that_fit_no_task_are_told_in_three_lines(
    kind: LabelKind, labels: list[str], settings: dict[str, object], lines: tuple[str, str, str]
) -> None:
    with pytest.raises(DatasetError) as error:
        LabelSpec.from_labels(labels, kind, **settings)
    told = (error.value.found, error.value.expected, error.value.remedy)
    for line, begin in zip(told, lines, strict=True):
        assert line.startswith(begin), line


def test_a_set_label_that_contains_the_separator_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"label 'a\|b' contains the separator '\|'") as error:
        LabelSpec(("a|b", "c"), "multi_label")
    assert "another --label-separator" in error.value.remedy
    assert LabelSpec(("a|b", "c"), "multi_label", separator=";").labels == ("a|b", "c")

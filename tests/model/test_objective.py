"""Weights of labels and focal loss beside scikit-learn's, torch's, and numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional

from lasttoken.data.labels import LabelSpec
from lasttoken.data.losses import IGNORED_LABEL
from lasttoken.model.objective import _LOSSES, Objective

ONE = LabelSpec(("ham", "late", "spam"))
SETS = LabelSpec(("anger", "joy", "fear"), kind="multi_label")
ORDERED = LabelSpec(("low", "mid", "high"), kind="ordinal")
NUMBER = LabelSpec(("score",), kind="regression")

# Four texts and the probabilities that a model gives them.
PROBS = torch.tensor(
    [[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]], dtype=torch.float64
)
IDS = torch.tensor([0, 2, 2, 1])
WEIGHTS = (0.5, 4.0, 2.0)


def test_weighted_loss_on_paper() -> None:
    """ham 0.5 at 0.7, spam 2 at 0.25, spam 2 at 0.8, late 4 at 0.5."""
    by_hand = -(0.5 * math.log(0.7) + 2 * math.log(0.25) + 2 * math.log(0.8) + 4 * math.log(0.5))
    assert by_hand == pytest.approx(6.16980, abs=1e-5)
    found = Objective(ONE, WEIGHTS).loss_sum(PROBS.log(), IDS)
    assert float(found) == pytest.approx(by_hand, rel=1e-6)


def test_weighted_loss_is_that_of_scikit_learn_and_torch() -> None:
    of_examples = [WEIGHTS[label_id] for label_id in IDS]
    sklearn = log_loss(IDS, PROBS.numpy(), sample_weight=of_examples, normalize=False)
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)
    reference = functional.cross_entropy(PROBS.log(), IDS, weight=weight, reduction="sum")
    found = Objective(ONE, WEIGHTS).loss_sum(PROBS.log(), IDS)
    assert float(found) == pytest.approx(sklearn, rel=1e-6)
    assert float(found) == pytest.approx(float(reference), rel=1e-6)


def test_the_loss_is_divided_by_examples_not_by_weights() -> None:
    """So a batch in two parts is the whole batch, whoever is in which part."""
    objective = Objective(ONE, WEIGHTS)
    whole = objective.loss_sum(PROBS.log(), IDS)
    parts = [objective.loss_sum(PROBS[rows].log(), IDS[rows]) for rows in ([0], [1, 2], [3])]
    assert float(whole) == pytest.approx(float(torch.stack(parts).sum()), rel=1e-6)


HAS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
POSITIVE = (3.0, 1.0, 5.0)


def test_weights_of_sets_are_those_of_torch() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-4.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    reference = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(POSITIVE), reduction="none")
    expected = reference(logits, HAS).mean(dim=1).sum()
    found = Objective(SETS, POSITIVE).loss_sum(logits, HAS)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_weighted_loss_of_a_set_on_paper() -> None:
    """Anger is there at 0.8 and counts 3; joy is not, at 0.4; fear is not, at 0.1."""
    probs = torch.tensor([[0.8, 0.4, 0.1]], dtype=torch.float64)
    by_hand = -(3 * math.log(0.8) + math.log(0.6) + math.log(0.9)) / 3
    found = Objective(SETS, POSITIVE).loss_sum(probs.logit(), HAS[:1])
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


def test_weights_of_ordered_labels_are_those_of_the_true_label() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.5, 2.0]])
    parts = [ORDERED.loss_sum(logits[row : row + 1], torch.tensor([row])) for row in (0, 1)]
    found = Objective(ORDERED, (2.0, 7.0, 1.0)).loss_sum(logits, torch.tensor([0, 1]))
    assert float(found) == pytest.approx(2 * float(parts[0]) + 7 * float(parts[1]), rel=1e-6)


def test_focal_loss_on_paper() -> None:
    """Gamma 2: (1 - 0.7) ** 2 of the first, ... ; weights are the paper's alpha."""
    true = [0.7, 0.25, 0.8, 0.5]
    plain = -sum((1 - p) ** 2 * math.log(p) for p in true)
    found = Objective(ONE, focal_gamma=2.0).loss_sum(PROBS.log(), IDS)
    assert float(found) == pytest.approx(plain, rel=1e-5)
    weighted = -sum(WEIGHTS[i] * (1 - p) ** 2 * math.log(p) for i, p in zip(IDS, true))
    found = Objective(ONE, WEIGHTS, 2.0).loss_sum(PROBS.log(), IDS)
    assert float(found) == pytest.approx(weighted, rel=1e-5)
    probs = torch.tensor([[0.8, 0.4, 0.1]], dtype=torch.float64)
    of_set = -(0.2**2 * math.log(0.8) + 0.4**2 * math.log(0.6) + 0.1**2 * math.log(0.9)) / 3
    found = Objective(SETS, focal_gamma=2.0).loss_sum(probs.logit(), HAS[:1])
    assert float(found) == pytest.approx(of_set, rel=1e-5)


@pytest.mark.parametrize("spec", [ONE, SETS, ORDERED])
def test_gamma_0_and_weights_of_1_are_the_plain_loss(spec: LabelSpec) -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(4, 3)
    targets = HAS if spec is SETS else IDS
    found = Objective(spec, (1.0, 1.0, 1.0), 0.0).loss_sum(logits, targets)
    assert float(found) == pytest.approx(float(spec.loss_sum(logits, targets)), rel=1e-6)
    assert torch.equal(Objective(spec).loss_sum(logits, targets), spec.loss_sum(logits, targets))


@pytest.mark.parametrize("spec", [ONE, SETS])
@pytest.mark.parametrize("gamma", [1e-4, 0.5, 2.0, 5.0])
def test_focal_gradients_are_finite_however_sure_the_model_is(
    spec: LabelSpec, gamma: float
) -> None:
    for size in (1.0, 30.0, 1e4):
        logits = (size * torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])).requires_grad_()
        targets = HAS[:2] if spec is SETS else torch.tensor([0, 0])
        loss = Objective(spec, focal_gamma=gamma).loss_sum(logits, targets)
        loss.backward()
        assert math.isfinite(loss.item())
        assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("spec", [ONE, SETS])
def test_focal_gradients_are_those_of_finite_differences(spec: LabelSpec) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    targets = HAS if spec is SETS else IDS
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda inputs: _LOSSES[spec.kind](inputs, targets, weights, 1.5), logits
    )


@pytest.mark.parametrize("spec", [ONE, SETS, ORDERED])
def test_filled_places_count_nowhere(spec: LabelSpec) -> None:
    logits = PROBS.log().float().requires_grad_()
    targets = (HAS if spec is SETS else IDS).clone()
    gamma = 0.0 if spec is ORDERED else 2.0
    rest = Objective(spec, WEIGHTS, gamma).loss_sum(logits[1:], targets[1:])
    targets[0] = IGNORED_LABEL
    found = Objective(spec, WEIGHTS, gamma).loss_sum(logits, targets)
    assert found.item() == pytest.approx(rest.item(), rel=1e-6)
    found.backward()
    assert bool((logits.grad[0] == 0).all())


def test_what_is_not_defined_is_no_loss() -> None:
    with pytest.raises(ValueError, match="focal loss of soft targets is not defined"):
        Objective(ORDERED, focal_gamma=1.0).loss_sum(PROBS.log(), IDS)
    with pytest.raises(ValueError, match="a number has no label to weigh"):
        Objective(NUMBER, (1.0,)).loss_sum(torch.zeros(4, 1), torch.zeros(4))


def test_weights_have_the_names_of_their_labels() -> None:
    assert Objective(ONE, WEIGHTS).weight_of == {"ham": 0.5, "late": 4.0, "spam": 2.0}
    assert Objective(ONE).weight_of is None

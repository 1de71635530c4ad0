"""Labels of unequal frequency: how much each counts, and how often its examples are drawn.

Either changes what probabilities mean, which is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from lasttoken.data.labels import LabelSpec
from lasttoken.data.tasks import Task, name_of
from lasttoken.data.written import LabelKind, label_ids
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.events import EventCallback, Note
from lasttoken.model.objective import Objective
from lasttoken.settings import parse_class_weights
from lasttoken.training.state import FitSettings

# Settings that have no meaning for a kind of task.
_REFUSED: dict[LabelKind, tuple[str, ...]] = {
    "single_label": (),
    "multi_label": (),
    "ordinal": ("focal_gamma",),
    "regression": ("class_weights", "focal_gamma", "sampling"),
}
_UNSET = {"class_weights": "none", "focal_gamma": 0.0, "sampling": "all"}

_MOST_TOLD = 12  # labels whose weights are told one by one


def check_weighable(labels: LabelSpec, settings: FitSettings) -> None:
    """Check that the task has what the settings weigh.

    Raises:
        ConfigError: labels would be weighed that the task has not; or a label with a weight is
            unknown.
    """
    for name in _REFUSED[labels.kind]:
        value = getattr(settings, name)
        if value != _UNSET[name]:
            raise ConfigError(
                f"--{name.replace('_', '-')} {value} with --task {name_of(labels.kind)}",
                expected="a task whose examples have labels that are right or wrong"
                if labels.kind == "ordinal"
                else "a task with labels: a number is neither rare nor common",
                remedy="leave it out, or --class-weights balanced"
                if labels.kind == "ordinal"
                else "leave it out",
            )
    weights = parse_class_weights(settings.class_weights)
    if isinstance(weights, Mapping):
        try:
            label_ids(weights, labels.label2id)
        except DatasetError as error:
            raise ConfigError(
                f"--class-weights: {error.found}", expected=error.expected, remedy=error.remedy
            ) from error


def make_objective(
    labels: LabelSpec, given: Sequence[str], settings: FitSettings, on_event: EventCallback
) -> Objective:
    """Return what training lowers, and tell what follows from it.

    Args:
        labels: of the model, in its order.
        given: the labels of the training examples.
        settings: with weights and gamma.
        on_event: hears a warning if examples do not count alike.
    """
    asked = parse_class_weights(settings.class_weights)
    weights = None
    if asked is not None:
        balanced = asked == "balanced"
        found = _BALANCED[labels.kind](labels, given) if balanced else _given(labels, asked)
        weights = tuple(found)
        on_event(Note(_describe_weights(labels, weights, balanced), is_warning=True))
    if settings.focal_gamma:
        on_event(
            Note(
                f"focal loss, gamma {settings.focal_gamma:g}: what is predicted well counts less, "
                "so probabilities are less sure than the data is; the temperature fitted on "
                "validation examples corrects that on average",
                is_warning=True,
            )
        )
    return Objective(labels, weights, settings.focal_gamma)


def make_groups(
    task: Task, given: Sequence[str], settings: FitSettings, on_event: EventCallback
) -> NDArray[np.int64] | None:
    """Return the groups of which an epoch draws equally many, (N,); None if it draws all examples.

    Args:
        task: an example belongs to its label's group; with a set of labels, to its rarest's.
        given: the labels of the training examples.
        settings: with the sampling.
        on_event: hears a warning of how often examples are drawn.
    """
    if settings.sampling == "all":
        return None
    names, groups, counts = np.unique(
        task.strata(given, len(given)), return_inverse=True, return_counts=True
    )
    share = len(given) / len(names)
    rarest, commonest = int(counts.argmin()), int(counts.argmax())
    on_event(
        Note(
            f"balanced sampling: an epoch draws {share:,.0f} examples of each of {len(names)} "
            f"labels, those of {str(names[rarest])!r} {share / counts[rarest]:.1f} times each, "
            f"those of {str(names[commonest])!r} {share / counts[commonest]:.1f} times; "
            + _CONSEQUENCE,
            is_warning=True,
        )
    )
    return groups.astype(np.int64)


_CONSEQUENCE = (
    "probabilities are those of data in which labels are so common; thresholds are fitted on "
    "validation examples at their true frequencies"
)


def _given(labels: LabelSpec, weights: object) -> list[float]:
    assert isinstance(weights, Mapping)
    return [float(weights.get(label, 1.0)) for label in labels.labels]


def _balanced_ids(labels: LabelSpec, given: Sequence[str]) -> list[float]:
    """Return N / (C x the label's examples): every label weighs as much as the others in sum.

    Source:
        scikit-learn's `compute_class_weight("balanced")`.
    """
    ids = np.array(label_ids(given, labels.label2id))
    found = compute_class_weight("balanced", classes=np.arange(labels.num_logits), y=ids)
    return [float(weight) for weight in found]


def _balanced_sets(labels: LabelSpec, given: Sequence[str]) -> list[float]:
    """Return examples without a label / examples with it: presence weighs as much as absence.

    Source:
        torch's `BCEWithLogitsLoss`, on `pos_weight`. A label that all or no examples have keeps 1.
    """
    having = labels.encode(given).sum(dim=0).numpy()  # (C,)
    lacking = len(given) - having
    pairs = zip(lacking.tolist(), having.tolist(), strict=True)
    return [without / with_it if without and with_it else 1.0 for without, with_it in pairs]


def _no_weights(labels: LabelSpec, given: Sequence[str]) -> list[float]:
    raise ValueError("a number has no label to weigh")


def _describe_weights(labels: LabelSpec, weights: tuple[float, ...], balanced: bool) -> str:
    pairs = sorted(zip(weights, labels.labels, strict=True), key=lambda pair: -pair[0])
    if len(pairs) > _MOST_TOLD:
        half = _MOST_TOLD // 2
        told = ", ".join(f"{label} {weight:.3g}" for weight, label in pairs[:half])
        told += " ... " + ", ".join(f"{label} {weight:.3g}" for weight, label in pairs[-half:])
    else:
        told = ", ".join(f"{label} {weight:.3g}" for weight, label in pairs)
    return f"class weights{', balanced' if balanced else ''}: {told}; {_CONSEQUENCE}"


_BALANCED: dict[LabelKind, Callable[[LabelSpec, Sequence[str]], list[float]]] = {
    "single_label": _balanced_ids,
    "multi_label": _balanced_sets,
    "ordinal": _balanced_ids,
    "regression": _no_weights,
}

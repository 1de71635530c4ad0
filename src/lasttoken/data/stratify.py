"""Shares of labeled examples, drawn by label and seed; copies of a text stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lasttoken.data.examples import Example, copy_key
from lasttoken.data.tasks import Task
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note

_SINGLE_LABEL = Task()


def set_aside(
    train: tuple[Example, ...],
    fractions: Mapping[str, float],
    seed: int,
    on_event: EventCallback,
    task: Task = _SINGLE_LABEL,
) -> dict[str, tuple[Example, ...]]:
    """Set shares of labeled examples aside; returns the parts asked for, and "train".

    Stratified by label and seeded, in the order of `fractions`; copies of a text stay together.
    Every part has every label of which there are enough distinct texts; which are not is told.

    Raises:
        DatasetError: a fraction is too small or too large for the labels.
    """
    if not fractions:
        return {"train": train}
    copies: dict[str, list[int]] = {}
    for place, example in enumerate(train):
        copies.setdefault(copy_key(example), []).append(place)
    groups = list(copies.values())
    most = int(min(fractions.values()) * len(groups))  # ranges of numbers that every part can have
    strata = task.strata([required_label(example) for example in train], most)
    group_labels = _label_groups([[strata[p] for p in group] for group in groups])
    sizes = _sizes(len(groups), group_labels, fractions)
    rest = list(range(len(groups)))
    parts: dict[str, list[int]] = {}
    for num_later, (name, size) in zip(range(len(sizes), 0, -1), sizes.items(), strict=True):
        counts = Counter(group_labels[group] for group in rest)
        usable = [group for group in rest if counts[group_labels[group]] > 1]
        labels = [group_labels[group] for group in usable]
        chosen = _stratified(usable, labels, size, num_later, seed)
        parts[name] = sorted(chosen)
        rest = [group for group in rest if group not in chosen]
    parts["train"] = rest
    _give_back(parts, [[name for p in group for name in task.names(str(train[p].label))]
                       for group in groups], on_event)  # fmt: skip
    _tell_missing({name: [group_labels[g] for g in part] for name, part in parts.items()}, on_event)
    return {
        name: tuple(train[place] for place in sorted(p for group in part for p in groups[group]))
        for name, part in parts.items()
    }


def _give_back(
    parts: dict[str, list[int]], names_of: list[list[str]], on_event: EventCallback
) -> None:
    """Move texts back to training until it has every label, as a label of sets may lack there."""
    known = {name for group in parts["train"] for name in names_of[group]}
    for part in (name for name in parts if name != "train"):
        for group in parts[part].copy():
            missing = sorted(set(names_of[group]) - known)
            if missing:
                parts[part].remove(group)
                parts["train"].append(group)
                known.update(names_of[group])
                text = f"a text of {part} stays in training, which had none else of {missing[0]!r}"
                on_event(Note(text, is_warning=True))


def required_label(example: Example) -> str:
    """Return the label of an example that must have one.

    Raises:
        DatasetError: it has none.
    """
    if example.label is None:
        raise DatasetError(
            f"{example.file or 'the data'}: row {example.row:,} has no label",
            expected="a label for every example",
            remedy="--label-column NAME",
        )
    return example.label


def _label_groups(labels_of: list[list[str]]) -> list[str]:
    """Return the label that each distinct text counts as: the one it carries most often.

    A label that would then have no text of its own gets one, so that training has every label.
    """
    chosen = [Counter(labels).most_common(1)[0][0] for labels in labels_of]
    homeless = {label for labels in labels_of for label in labels} - set(chosen)
    for group, labels in enumerate(labels_of):
        for label in labels:
            if label in homeless:
                chosen[group] = label
                homeless.remove(label)
                break
    return chosen


def _sizes(
    num_texts: int, group_labels: list[str], fractions: Mapping[str, float]
) -> dict[str, int]:
    """Return how many distinct texts each part gets: at least one of every usable label."""
    counts = Counter(group_labels)
    usable = {label: count for label, count in counts.items() if count > 1}
    num_labels, num_usable = len(usable), sum(usable.values())

    def fits(candidates: Iterable[float]) -> bool:
        sizes = [round(fraction * num_texts) for fraction in candidates]
        return min(sizes) >= max(1, num_labels) and num_usable - sum(sizes) >= max(1, num_labels)

    if fits(fractions.values()):
        return {name: round(fraction * num_texts) for name, fraction in fractions.items()}
    files = " ".join(f"--{name} FILE" for name in fractions)
    if not usable:
        raise DatasetError(
            f"none of the {len(counts):,} labels has two distinct texts",
            expected="labels that repeat, so that some texts can be set aside",
            remedy=f"check --label-column, or {files}",
        )
    hundredths = [place / 100 for place in range(1, 100)]
    works = next((share for share in hundredths if fits([share] * len(fractions))), None)
    asked = " ".join(f"--{name} {fraction:g}" for name, fraction in fractions.items())
    sizes = [round(fraction * num_texts) for fraction in fractions.values()]
    left = num_usable - sum(sizes)
    raise DatasetError(
        f"{asked} of {num_texts:,} distinct texts is {' and '.join(f'{n:,}' for n in sizes)}"
        + (f", which leaves {max(0, left):,} to train on" if left < max(1, num_labels) else "")
        + f", for {_labels(num_labels)}"
        + (f"; {len(counts) - num_labels:,} more with one text each stay in training"
           if len(counts) > num_labels else ""),
        expected=f"at least one text for each of the {_labels(num_labels)} that have two or more, "
        "in every split",
        remedy=" ".join(f"--{name} {works:g}" for name in fractions) if works else files,
    )  # fmt: skip


def _labels(count: int) -> str:
    return f"{count:,} label" + ("" if count == 1 else "s")


def _stratified(
    groups: list[int], labels: list[str], size: int, num_later: int, seed: int
) -> set[int]:
    """Choose `size` groups by label; `num_later` parts, training among them, come after this one.

    Shares are scikit-learn's, which may round a rare label to none, or leave none of it for what
    comes after: only such labels are mended, and others give way.
    """
    from sklearn.model_selection import train_test_split

    try:
        _, drawn = train_test_split(groups, test_size=size, stratify=labels, random_state=seed)
    except ValueError as error:  # the counts were checked: what is left is a matter of few texts
        raise DatasetError(
            f"{size:,} of {len(groups):,} distinct texts cannot be set aside by label: {error}",
            expected="several distinct texts of every label",
            remedy="smaller fractions, or --validation FILE --test FILE",
        ) from error
    chosen = set(drawn)
    own: dict[str, list[int]] = {label: [] for label in sorted(set(labels))}
    for group, label in zip(groups, labels, strict=True):
        own[label].append(group)
    most = {label: max(1, len(members) - num_later) for label, members in own.items()}
    counts = {
        label: min(max(1, len(chosen.intersection(members))), most[label])
        for label, members in own.items()
    }
    while sum(counts.values()) > size:
        counts[max(counts, key=lambda label: (counts[label], label))] -= 1
    while sum(counts.values()) < size:
        counts[max(counts, key=lambda label: (most[label] - counts[label], label))] += 1
    random = np.random.default_rng(seed)
    kept: set[int] = set()
    for label, members in own.items():
        mixed = random.permutation(members).tolist()
        kept.update(sorted(mixed, key=lambda group: group not in chosen)[: counts[label]])
    return kept


def _tell_missing(labels_of: Mapping[str, Sequence[str]], on_event: EventCallback) -> None:
    """Tell which labels have too few distinct texts for every part, and which part lacks them."""
    counts_of = {name: Counter(labels) for name, labels in labels_of.items()}
    lacking: dict[str, list[str]] = {}
    for label, count in sorted(sum(counts_of.values(), Counter()).items()):
        names = [name for name, counts in counts_of.items() if not counts[label]]
        if names:
            lacking.setdefault(" or ".join(names), []).append(f"{label!r} ({count:,})")
    for where, rare in lacking.items():
        shown = ", ".join(rare[:5]) + (f" and {len(rare) - 5:,} more" if rare[5:] else "")
        text = f"too few distinct texts for every split, so none is set aside for {where}: {shown}"
        on_event(Note(text, is_warning=True))


def limit_examples(
    train: tuple[Example, ...],
    limit: int | None,
    seed: int,
    on_event: EventCallback,
    task: Task = _SINGLE_LABEL,
) -> tuple[Example, ...]:
    """Return at most `limit` examples, drawn by label and seed, in their order.

    Raises:
        DatasetError: `limit` is below the number of labels.
    """
    if limit is None or limit >= len(train):
        return train
    places: dict[str, list[int]] = {}
    strata = task.strata([required_label(example) for example in train], limit)
    for place, stratum in enumerate(strata):
        places.setdefault(stratum, []).append(place)
    if limit < len(places):
        raise DatasetError(
            f"--limit {limit}: fewer examples than the {len(places):,} labels",
            expected="room for one example of every label",
            remedy=f"--limit {len(places)}",
        )
    # By share, the largest remainders rounded up, but at least one of every label.
    shares = {label: limit * len(own) / len(train) for label, own in places.items()}
    counts = {label: max(1, int(share)) for label, share in shares.items()}
    by_remainder = sorted(shares, key=lambda label: (counts[label] - shares[label], label))
    for label in by_remainder[: max(0, limit - sum(counts.values()))]:
        counts[label] += 1
    for _ in range(sum(counts.values()) - limit):
        counts[max(counts, key=lambda label: (counts[label], label))] -= 1
    random = np.random.default_rng(seed)
    kept: list[int] = []
    for label in sorted(places):
        kept.extend(random.permutation(places[label])[: counts[label]].tolist())
    kept = _with_every_label(kept, [set(task.names(str(e.label))) for e in train], limit)
    on_event(Note(f"--limit: {limit:,} of {len(train):,} examples are used"))
    return tuple(train[place] for place in sorted(kept))


def _with_every_label(kept: list[int], names_of: list[set[str]], limit: int) -> list[int]:
    """Return places that have every label: of sets, one may be in none of those drawn.

    Raises:
        DatasetError: `limit` is too small for that.
    """
    counts = Counter(name for place in kept for name in names_of[place])
    missing = sorted(set().union(*names_of) - counts.keys())
    for name in missing:
        if counts[name]:
            continue  # it came with another one
        spare = [p for p in kept if all(counts[each] > 1 for each in names_of[p])]
        if not spare:
            raise DatasetError(
                f"--limit {limit}: too few examples for sets with each of the labels",
                expected=f"room for an example of every label, {name!r} too",
                remedy="a larger --limit",
            )
        new = next(place for place, names in enumerate(names_of) if name in names)
        kept = [place for place in kept if place != spare[-1]] + [new]
        counts.subtract(names_of[spare[-1]])
        counts.update(names_of[new])
    return kept

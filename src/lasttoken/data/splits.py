"""Training, validation and test examples: given, or set aside by label, seed and distinct text."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lasttoken.data.examples import Example, fold_text
from lasttoken.data.labels import LabelSpec
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, ignore

# The default of --validation and --test: only this one gives way to a split of the data's own.
DEFAULT_FRACTION = "0.1"

_Examples = Sequence[Example]


@dataclass(frozen=True, slots=True)
class Splits:
    """The examples to train on, to choose the epoch on, and to score once."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]


def split_examples(
    splits: Mapping[str, _Examples],
    *,
    validation: str = DEFAULT_FRACTION,
    test: str = DEFAULT_FRACTION,
    limit: int | None = None,
    seed: int,
    read_other: Callable[[str, str], _Examples],
    on_event: EventCallback = ignore,
) -> Splits:
    """Decide which example is trained on, validated on and tested on.

    Fractions are shares of the data's own training split, set aside by label; all copies of one
    text (case and white space folded) land in one split.

    Args:
        splits: what the data holds; keys among "train", "validation" and "test".
        validation: a fraction, or a path that `read_other` reads.
        test: a fraction, or a path that `read_other` reads.
        limit: keep at most this many training examples, of every label.
        seed: of the fractions and of `limit`.
        read_other: reads another file or folder, given its path and the split wanted.
        on_event: told what was decided.

    Raises:
        DatasetError: a setting is no fraction and no path, a fraction is too small or too large,
            training has fewer than two labels, or another split has a label that it has not.
    """
    if not splits.get("train"):
        raise DatasetError(
            f"no training examples; there are {', '.join(splits) or 'no splits'}",
            expected="data that is not split, or a split named train",
            remedy="name the training file or folder itself",
        )
    train = tuple(splits["train"])
    labels = set(LabelSpec.from_labels(_label(example) for example in train).labels)
    given: dict[str, tuple[Example, ...]] = {}
    fractions: dict[str, float] = {}
    # Test first: it must not depend on how much is set aside for validation.
    for name, setting in (("test", test), ("validation", validation)):
        fraction = _fraction(setting, f"--{name}")
        if fraction is None:
            given[name] = _read_given(name, setting, read_other)
        elif setting == DEFAULT_FRACTION and name in splits:
            given[name] = tuple(splits[name])
        else:
            fractions[name] = fraction
            if name in splits:
                text = f"--{name} {setting}: the data's own {name} split is not used"
                on_event(Note(text, is_warning=True))
    parts = set_aside(train, fractions, seed, on_event)
    parts.update(given)
    for name in ("validation", "test"):
        if not parts[name]:
            raise DatasetError(
                f"no {name} examples",
                expected=f"at least one {name} example",
                remedy=f"--{name} FILE, or a larger fraction",
            )
        _check_labels_known(parts[name], labels, name)
    for name, examples in given.items():
        _tell_leaks(train, examples, name, on_event)
    return Splits(
        train=limit_examples(parts["train"], limit, seed, on_event),
        validation=parts["validation"],
        test=parts["test"],
    )


def fingerprint(examples: Iterable[Example]) -> str:
    """Return the SHA-256 (hex) over all labels and texts in their order."""
    digest = hashlib.sha256()
    for example in examples:
        for part in (example.label, example.text):
            # The length in front makes ("ab", "c") and ("a", "bc") different.
            content = b"" if part is None else part.encode("utf-8", "surrogatepass")
            digest.update(b"-;" if part is None else b"%d;" % len(content))
            digest.update(content)
    return digest.hexdigest()


def _label(example: Example) -> str:
    if example.label is None:
        raise DatasetError(
            f"{example.file or 'the data'}: row {example.row:,} has no label",
            expected="a label for every example",
            remedy="--label-column NAME",
        )
    return example.label


def _fraction(setting: str, flag: str) -> float | None:
    try:
        fraction = float(setting)
    except ValueError:
        return None
    if not 0 < fraction < 1:
        raise DatasetError(
            f"{flag} {setting}: out of range",
            expected="a fraction between 0 and 1, or a path",
            remedy=f"{flag} {DEFAULT_FRACTION}",
        )
    return fraction


def _read_given(
    name: str, setting: str, read_other: Callable[[str, str], _Examples]
) -> tuple[Example, ...]:
    try:
        return tuple(read_other(setting, name))
    except DatasetError as error:
        raise DatasetError(
            f"--{name} {error.found}", expected=error.expected, remedy=error.remedy
        ) from error


def set_aside(
    train: tuple[Example, ...], fractions: Mapping[str, float], seed: int, on_event: EventCallback
) -> dict[str, tuple[Example, ...]]:
    """Set shares of labeled examples aside; returns the parts asked for, and "train".

    Stratified by label and seeded, in the order of `fractions`; copies of a text stay together.

    Raises:
        DatasetError: a fraction is too small or too large for the labels.
    """
    if not fractions:
        return {"train": train}
    copies: dict[str, list[int]] = {}
    for place, example in enumerate(train):
        copies.setdefault(fold_text(example.text), []).append(place)
    groups = list(copies.values())
    # A text that carries several labels counts as the one it carries most often.
    group_labels = [
        Counter(_label(train[place]) for place in group).most_common(1)[0][0] for group in groups
    ]
    sizes = _sizes(len(groups), group_labels, fractions)
    rest = list(range(len(groups)))
    parts: dict[str, list[int]] = {}
    alone: set[str] = set()
    for name, size in sizes.items():
        counts = Counter(group_labels[group] for group in rest)
        alone |= {label for label, count in counts.items() if count == 1}
        usable = [group for group in rest if counts[group_labels[group]] > 1]
        chosen = _stratified(usable, [group_labels[group] for group in usable], size, seed)
        parts[name] = sorted(chosen)
        rest = [group for group in rest if group not in chosen]
    parts["train"] = rest
    if alone:
        shown = ", ".join(repr(label) for label in sorted(alone)[:5])
        more = f" and {len(alone) - 5:,} more" if len(alone) > 5 else ""
        text = f"too few distinct texts to set any aside: {shown}{more} stays in training"
        on_event(Note(text, is_warning=True))
    return {
        name: tuple(train[place] for place in sorted(p for group in part for p in groups[group]))
        for name, part in parts.items()
    }


def _sizes(
    num_texts: int, group_labels: list[str], fractions: Mapping[str, float]
) -> dict[str, int]:
    counts = Counter(group_labels)
    num_labels = sum(count > 1 for count in counts.values())
    num_usable = sum(count for count in counts.values() if count > 1)

    def fits(candidates: Iterable[float]) -> bool:
        sizes = [round(fraction * num_texts) for fraction in candidates]
        return min(sizes) >= max(1, num_labels) and num_usable - sum(sizes) >= max(1, num_labels)

    if fits(fractions.values()):
        return {name: round(fraction * num_texts) for name, fraction in fractions.items()}
    hundredths = [place / 100 for place in range(1, 100)]
    works = next((share for share in hundredths if fits([share] * len(fractions))), None)
    asked = " ".join(f"--{name} {fraction:g}" for name, fraction in fractions.items())
    got = " and ".join(f"{round(fraction * num_texts):,}" for fraction in fractions.values())
    files = " ".join(f"--{name} FILE" for name in fractions)
    raise DatasetError(
        f"{asked} of {num_texts:,} distinct texts is {got}, for {len(counts):,} labels",
        expected=f"at least one text for each of the {num_labels:,} labels that have two or more, "
        "in every split",
        remedy=" ".join(f"--{name} {works:g}" for name in fractions) if works else files,
    )


def _stratified(groups: list[int], labels: list[str], size: int, seed: int) -> set[int]:
    from sklearn.model_selection import train_test_split

    try:
        _, chosen = train_test_split(groups, test_size=size, stratify=labels, random_state=seed)
    except ValueError as error:  # the counts were checked: what is left is a matter of few texts
        raise DatasetError(
            f"{size:,} of {len(groups):,} distinct texts cannot be set aside by label: {error}",
            expected="several distinct texts of every label",
            remedy="smaller fractions, or --validation FILE --test FILE",
        ) from error
    return set(chosen)


def _check_labels_known(examples: _Examples, labels: set[str], name: str) -> None:
    unknown = [example for example in examples if _label(example) not in labels]
    if not unknown:
        return
    first = unknown[0]
    count = sum(example.label == first.label for example in unknown)
    others = len({example.label for example in unknown}) - 1
    more = f" ({others:,} more unknown labels)" if others else ""
    raise DatasetError(
        f"label {first.label!r} of {count:,} {name} examples is unknown to training{more}; "
        f"first in {first.file or 'the data'}, row {first.row:,}",
        expected="one of " + ", ".join(repr(label) for label in sorted(labels)[:10]),
        remedy=f"mend the label, leave these rows out, or another --{name}",
    )


def _tell_leaks(train: _Examples, given: _Examples, name: str, on_event: EventCallback) -> None:
    known = {fold_text(example.text) for example in train}
    count = sum(fold_text(example.text) in known for example in given)
    if count:
        text = f"{count:,} of {len(given):,} {name} texts stand in the training data too"
        on_event(Note(text, is_warning=True))


def limit_examples(
    train: tuple[Example, ...], limit: int | None, seed: int, on_event: EventCallback
) -> tuple[Example, ...]:
    """Return at most `limit` examples, drawn by label and seed, in their order.

    Raises:
        DatasetError: `limit` is below the number of labels.
    """
    if limit is None or limit >= len(train):
        return train
    places: dict[str, list[int]] = {}
    for place, example in enumerate(train):
        places.setdefault(_label(example), []).append(place)
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
    on_event(Note(f"--limit: {limit:,} of {len(train):,} examples are used"))
    return tuple(train[place] for place in sorted(kept))

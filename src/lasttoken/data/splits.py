"""Training, validation and test examples: given, or set aside by label, seed and distinct text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lasttoken.data.examples import Example, copy_key
from lasttoken.data.stratify import limit_examples, required_label, set_aside
from lasttoken.data.tasks import Task
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, ignore

__all__ = ["Splits", "fingerprint", "limit_examples", "set_aside", "split_examples", "tell_leaks"]

# The default of --validation and --test: only this one gives way to a split of the data's own.
DEFAULT_FRACTION = "0.1"

_SINGLE_LABEL = Task()

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
    task: Task = _SINGLE_LABEL,
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
        task: what the labels mean.
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
    labels = set(task.spec(required_label(example) for example in train).labels)
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
    parts = set_aside(train, fractions, seed, on_event, task)
    parts.update(given)
    for name in ("validation", "test"):
        if not parts[name]:
            raise DatasetError(
                f"no {name} examples",
                expected=f"at least one {name} example",
                remedy=f"--{name} FILE, or a larger fraction",
            )
        _check_labels_known(parts[name], labels, name, task)
    for name, examples in given.items():
        tell_leaks(train, examples, name, on_event)
    return Splits(
        train=limit_examples(parts["train"], limit, seed, on_event, task),
        validation=parts["validation"],
        test=parts["test"],
    )


def fingerprint(examples: Iterable[Example]) -> str:
    """Return the SHA-256 (hex) over all labels and texts, second ones too, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        pair = () if example.text_pair is None else (example.text_pair,)
        for part in (example.label, example.text, *pair):
            # The length in front makes ("ab", "c") and ("a", "bc") different.
            content = b"" if part is None else part.encode("utf-8", "surrogatepass")
            digest.update(b"-;" if part is None else b"%d;" % len(content))
            digest.update(content)
    return digest.hexdigest()


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


def _check_labels_known(examples: _Examples, labels: set[str], name: str, task: Task) -> None:
    unknown = [
        (example, label)
        for example in examples
        for label in task.names(required_label(example))
        if label not in labels
    ]
    if not unknown:
        return
    first, unknown_label = unknown[0]
    count = sum(label == unknown_label for _, label in unknown)
    others = len({label for _, label in unknown}) - 1
    more = f" ({others:,} more unknown labels)" if others else ""
    raise DatasetError(
        f"label {unknown_label!r} of {count:,} {name} examples is unknown to training{more}; "
        f"first in {first.file or 'the data'}, row {first.row:,}",
        expected="one of " + ", ".join(repr(label) for label in sorted(labels)[:10]),
        remedy=f"mend the label, leave these rows out, or another --{name}",
    )


def tell_leaks(
    train: _Examples, others: _Examples, name: str, on_event: EventCallback, *, where: str = "the"
) -> None:
    """Warn of texts that stand in training data too: copies, as `copy_key` sees them.

    Args:
        train: what was or will be trained on.
        others: what is scored.
        name: of `others`, for the message.
        on_event: told the count, if there are any.
        where: whose training data it is, for the message.
    """
    known = {copy_key(example) for example in train}
    count = sum(copy_key(example) in known for example in others)
    if count:
        text = f"{count:,} of {len(others):,} {name} texts stand in {where} training data too"
        on_event(Note(text, is_warning=True))

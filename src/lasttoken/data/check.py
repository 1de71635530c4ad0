"""What is wrong with labeled text: pure functions from examples to findings.

Nothing is changed and nothing is printed; `lasttoken check` and `train` show what is found here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lasttoken.data.examples import Example, copy_key, fold_text
from lasttoken.data.findings import Finding, by_severity, counted, finding_about, listed, quoted
from lasttoken.data.tasks import Task
from lasttoken.data.unicode import fix_texts
from lasttoken.errors import DatasetError

Splits = Mapping[str, Sequence[Example]]

_SINGLE_LABEL = Task()

FEW_EXAMPLES = 10  # of a label; below it one mistake moves its recall by 0.1 or more

_REPLACED = "\ufffd"  # stands where a decoder found bytes that are no text
# Control characters but tab and line ends; zero-width characters; marks that turn the direction of
# writing. Joiners (U+200C, U+200D) are left out: some scripts and emoji need them.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)


def check_examples(
    splits: Splits, task: Task = _SINGLE_LABEL, leave_out: Container[str] = ()
) -> tuple[Finding, ...]:
    """Look for everything that can be told from the examples alone.

    Args:
        splits: examples by "train", "validation" and "test"; data that is not split is "train".
        task: what the labels mean.
        leave_out: kinds of findings not to look for.

    Returns:
        Findings, errors first.
    """
    named = _by_label(splits, task)
    kinds = [kind for kind in _CHECKS if kind not in leave_out]
    findings = [f for k in kinds for f in _CHECKS[k](named if k in _OF_LABELS else splits)]
    fit = _few_labels(splits) if task.kind == "single_label" else _misfits(splits, task)
    return by_severity([*fit, *findings])


def _by_label(splits: Splits, task: Task) -> Splits:
    """Return each example once for every label that it has: none of a regression."""
    if task.kind == "single_label":
        return splits
    return {
        split: [replace(e, label=name) for e in examples for name in task.names(str(e.label))]
        for split, examples in splits.items()
    }


def _misfits(splits: Splits, task: Task) -> Iterator[Finding]:
    """Tell labels that training would refuse."""
    try:
        task.spec(str(example.label) for example in splits.get("train", ()))
    except DatasetError as error:
        yield Finding("task", "error", error.found, error.remedy)


def _few_labels(splits: Splits) -> Iterator[Finding]:
    labels = sorted({str(example.label) for example in splits.get("train", ())})
    if len(labels) < 2:
        found = f"one label only: {labels[0]!r}" if labels else "no examples to train on"
        remedy = "check --label-column, or add examples of another label"
        yield Finding("one_label", "error", found, remedy)


def _unknown_labels(splits: Splits) -> Iterator[Finding]:
    known = {example.label for example in splits.get("train", ())}
    for split in ("validation", "test"):
        unknown = [example for example in splits.get(split, ()) if example.label not in known]
        if unknown:
            labels = listed(repr(label) for label in sorted({str(e.label) for e in unknown}))
            yield finding_about(
                "unknown_label",
                "error",
                f"{counted(len(unknown), 'example')} of {split} with a label that training has "
                f"not: {labels}",
                "mend the label, leave these rows out, or add training examples of it",
                [(split, example) for example in unknown],
            )


def _lookalike_labels(splits: Splits) -> Iterator[Finding]:
    counts = Counter(str(example.label) for _, example in _all(splits))
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts):
        spellings.setdefault(fold_text(label), []).append(label)
    alike = [labels for labels in spellings.values() if len(labels) > 1]
    if not alike:
        return
    shown = "; ".join(
        " and ".join(f"{label!r} ({counts[label]:,})" for label in labels) for labels in alike[:5]
    )
    more = f"; and {len(alike) - 5:,} more" if alike[5:] else ""
    rarer = {
        label
        for labels in alike
        for label in labels
        if label != max(labels, key=counts.__getitem__)
    }
    yield finding_about(
        "lookalike_labels",
        "warning",
        f"labels that differ only by case or white space: {shown}{more}",
        "spell each label in one way",
        [(split, example) for split, example in _all(splits) if example.label in rarer],
    )


def _rare_labels(splits: Splits) -> Iterator[Finding]:
    counts = Counter(str(example.label) for example in splits.get("train", ()))
    rare = {label: count for label, count in sorted(counts.items()) if count < FEW_EXAMPLES}
    if rare:
        shown = listed(f"{label!r} ({count:,})" for label, count in rare.items())
        yield finding_about(
            "rare_labels",
            "warning",
            f"labels of fewer than {FEW_EXAMPLES} training examples: {shown}",
            "add examples, join rare labels into one, or leave them out",
            [("train", example) for example in splits["train"] if example.label in rare],
        )


def _conflicting_labels(splits: Splits) -> Iterator[Finding]:
    groups = [
        group
        for group in _copies_of(splits)
        if len({str(example.label) for _, example in group}) > 1
    ]
    if groups:
        first = groups[0]
        labels = " and ".join(repr(label) for label in sorted({str(e.label) for _, e in first}))
        yield finding_about(
            "conflicting_labels",
            "warning",
            f"{counted(len(groups), 'text')} with more than one label, such as {labels} for "
            f"{quoted(first[0][1].whole_text)}",
            "decide on one label for each, or leave these texts out",
            [member for group in groups for member in group],
        )


def _shared_texts(splits: Splits) -> Iterator[Finding]:
    for split in ("validation", "test"):
        known = {copy_key(example) for example in splits.get("train", ())}
        shared = [example for example in splits.get(split, ()) if copy_key(example) in known]
        if shared:
            yield finding_about(
                "shared_texts",
                "warning",
                f"{len(shared):,} of {len(splits[split]):,} {split} texts stand in training too: "
                "scores will be too high",
                f"leave them out of one of the two, or let lasttoken set {split} aside",
                [(split, example) for example in shared],
            )


def _copies(splits: Splits) -> Iterator[Finding]:
    for split, examples in splits.items():
        groups = [group for group in _copies_of({split: examples}) if len(group) > 1]
        again = [member for group in groups for member in group[1:]]
        if again:
            yield finding_about(
                "copies",
                "note",
                f"{counted(len(again), 'text')} of {split} that stood there before, case and white "
                "space aside",
                "leave them out if they are mistakes; splits set aside keep copies together",
                again,
            )


def _empty_texts(splits: Splits) -> Iterator[Finding]:
    empty = [(split, example) for split, example in _all(splits) if not example.whole_text.strip()]
    if empty:
        yield finding_about(
            "empty_texts",
            "warning",
            f"{counted(len(empty), 'text')} without a character to read",
            "fill the cells or leave these rows out; lasttoken reads each as one end-of-text token",
            empty,
        )


def _lost_characters(splits: Splits) -> Iterator[Finding]:
    replaced = [member for member in _all(splits) if _REPLACED in member[1].whole_text]
    if replaced:
        yield finding_about(
            "lost_characters",
            "warning",
            f"{counted(len(replaced), 'text')} with U+FFFD, which stands for characters that were "
            "lost",
            "read the original file again with its own encoding: --encoding cp1252, say",
            replaced,
        )


def _broken_unicode(splits: Splits) -> Iterator[Finding]:
    everyone = list(_all(splits))
    fixed = fix_texts([example.whole_text for _, example in everyone])
    pairs = zip(everyone, fixed, strict=True)
    broken = [(member, text) for member, text in pairs if _is_repair(member[1].whole_text, text)]
    if broken:
        (_, first), repaired = broken[0]
        yield finding_about(
            "broken_unicode",
            "warning",
            f"{counted(len(broken), 'text')} with broken or unusual Unicode, such as "
            f"{quoted(first.whole_text)}, repaired {quoted(repaired)}",
            "--fix-text repairs them, in training and at prediction",
            [member for member, _ in broken],
        )


def _is_repair(text: str, fixed: str) -> bool:
    """Return whether a text was repaired by more than leaving out what nobody sees."""
    return fixed not in (text, _INVISIBLE.sub("", text))


def _invisible_characters(splits: Splits) -> Iterator[Finding]:
    found = [member for member in _all(splits) if _INVISIBLE.search(member[1].whole_text)]
    fixed = fix_texts([example.whole_text for _, example in found])
    # Broken Unicode may look like control characters; that is told as what it is.
    invisible = [
        member
        for member, text in zip(found, fixed, strict=True)
        if not _is_repair(member[1].whole_text, text)
    ]
    if invisible:
        characters = {c for _, example in invisible for c in _INVISIBLE.findall(example.whole_text)}
        names = [f"U+{ord(character):04X}" for character in sorted(characters)]
        yield finding_about(
            "invisible_characters",
            "warning",
            f"{counted(len(invisible), 'text')} with characters that nobody sees: {listed(names)}",
            "remove them unless they are meant; --fix-text removes some",
            invisible,
        )


def _lengths(splits: Splits) -> Iterator[Finding]:
    for split, examples in splits.items():
        lengths = np.array([len(example.whole_text) for example in examples])
        if len(lengths):
            quartiles = np.percentile(lengths, [0, 25, 50, 75, 100]).astype(int).tolist()
            yield Finding(
                "lengths",
                "note",
                f"{split}: characters per text {quartiles[0]:,} to {quartiles[4]:,}, quartiles "
                + ", ".join(f"{value:,}" for value in quartiles[1:4]),
                "--model NAME tells tokens, and what that model would cut",
            )


def _all(splits: Splits) -> Iterator[tuple[str, Example]]:
    for split, examples in splits.items():
        for example in examples:
            yield split, example


def _copies_of(splits: Splits) -> list[list[tuple[str, Example]]]:
    """Return the examples of each distinct text, case and white space folded."""
    groups: dict[str, list[tuple[str, Example]]] = {}
    for split, example in _all(splits):
        groups.setdefault(copy_key(example), []).append((split, example))
    return list(groups.values())


# What is told of labels: looked for once for every label of an example.
_OF_LABELS = frozenset({"unknown_label", "lookalike_labels", "rare_labels"})

_CHECKS: dict[str, Callable[[Splits], Iterator[Finding]]] = {
    "unknown_label": _unknown_labels,
    "lookalike_labels": _lookalike_labels,
    "rare_labels": _rare_labels,
    "conflicting_labels": _conflicting_labels,
    "shared_texts": _shared_texts,
    "copies": _copies,
    "empty_texts": _empty_texts,
    "lost_characters": _lost_characters,
    "broken_unicode": _broken_unicode,
    "invisible_characters": _invisible_characters,
    "lengths": _lengths,
}

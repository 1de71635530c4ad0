"""An `Example`: one text, its label and where it was found; and examples out of Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lasttoken.data.python_labels import is_missing, label_string
from lasttoken.data.tasks import Task
from lasttoken.errors import DatasetError

_SINGLE_LABEL = Task()


@dataclass(frozen=True, slots=True)
class Example:
    """One text with what is known about it.

    Attributes:
        text: the raw string.
        label: the label as written, or None where there is none.
        file: the file or data set it came from, as shown in messages.
        row: 1-based data row in `file` (the header is not counted; 1 for a .txt file).
        extra: the other columns, null cells left out.
        text_pair: a second text that the label is about as well, or None.
    """

    text: str
    label: str | None = None
    file: str = ""
    row: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)
    text_pair: str | None = None

    @property
    def whole_text(self) -> str:
        """Return the text; with a pair, the two texts, a line each, as they are shown."""
        return self.text if self.text_pair is None else f"{self.text}\n{self.text_pair}"


def examples_from_python(
    texts: Iterable[Any], labels: Iterable[Any] | None = None, *, task: Task = _SINGLE_LABEL
) -> tuple[Example, ...]:
    """Make examples of lists, arrays, Series, or columns of a `datasets` data set.

    Args:
        texts: strings; pairs of strings, as tuples or lists; or mappings with "text", for pairs
            "text_pair", and without `labels` "label".
        labels: str, int, bool or numpy scalars, one a text; each becomes `str(label)`. Of a
            multi-label task, sets, lists or tuples of them; of a regression, numbers.
        task: what the labels mean.

    Raises:
        DatasetError: the container is none of the above, a text is missing or no string, a
            label is missing or no scalar, or the two lengths differ.
    """
    _check_container(texts, "texts")
    items = list(texts)
    if labels is None and items and isinstance(items[0], Mapping):
        return _examples_from_mappings(items, _label_names(texts), task)
    examples = [_example_from_python(text, position) for position, text in enumerate(items)]
    if labels is None:
        return tuple(examples)
    _check_container(labels, "labels")
    names = [label_string(label, position, task) for position, label in enumerate(labels)]
    if len(names) != len(examples):
        raise DatasetError(
            f"{len(examples):,} texts but {len(names):,} labels",
            expected="one label for every text",
            remedy="pass two sequences of equal length",
        )
    return tuple(
        replace(example, label=label) for example, label in zip(examples, names, strict=True)
    )


def second_texts(examples: Sequence[Example]) -> list[str] | None:
    """Return the second text of every example, or None where they have none.

    Raises:
        DatasetError: some examples have one and others have not.
    """
    pairs = [example.text_pair for example in examples]
    found = [pair for pair in pairs if pair is not None]
    if not found:
        return None
    if len(found) < len(pairs):
        alone = examples[pairs.index(None)]
        raise DatasetError(
            f"{len(found):,} of {len(pairs):,} texts come with a second one; the first without it: "
            f"{alone.file or 'the data'}, row {alone.row:,}",
            expected="a second text for every text, or for none",
            remedy='leave these rows out, or give them an empty one: (text, "")',
        )
    return found


def check_labeled(examples: Sequence[Example]) -> None:
    """Check that examples given from Python carry labels to learn from.

    Raises:
        DatasetError: at least one has none.
    """
    missing = [example for example in examples if example.label is None]
    if not missing:
        return
    # The words by which scikit-learn's users know it.
    found = "no labels: fit requires y to be passed, but the target y is None"
    if any(example.label is not None for example in examples):
        found = f"texts[{missing[0].row - 1}] has no label"
    raise DatasetError(
        found,
        expected="one label for every text",
        remedy="fit(texts, labels), or mappings that all have 'text' and 'label'",
    )


def fold_text(text: str) -> str:
    """Return the form in which two texts count as copies: case and white space folded."""
    return " ".join(text.casefold().split())


def copy_key(example: Example) -> str:
    """Return what two examples share that are copies: the folded text, or both texts folded."""
    folded = fold_text(example.text)
    return folded if example.text_pair is None else f"{folded}\0{fold_text(example.text_pair)}"


def has_lone_surrogate(text: str) -> bool:
    """Return True if `text` holds half a surrogate pair, which no encoding can write."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _check_container(values: object, name: str) -> None:
    is_table = hasattr(values, "iloc") and hasattr(values, "columns")
    is_grid = getattr(values, "ndim", 1) != 1
    if (
        is_table
        or is_grid
        or isinstance(values, str | bytes | Mapping)
        or not isinstance(values, Iterable)
    ):
        shape = f" of {values.ndim} dimensions" if is_grid and hasattr(values, "ndim") else ""
        raise DatasetError(
            f"{name} is one {type(values).__name__}{shape}",
            expected=f"a list of {name}: a list, tuple, 1-d array, Series or column",
            remedy=f'pass one column, such as frame["{name[:-1]}"], or [text] for a single text',
        )


def _examples_from_mappings(items: list[Any], label_names: Any, task: Task) -> tuple[Example, ...]:  # noqa: ANN401 - a `datasets` ClassLabel or None
    examples = []
    for position, item in enumerate(items):
        if not isinstance(item, Mapping) or "text" not in item:
            held = sorted(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
            raise DatasetError(
                f"texts[{position}] has no 'text': {held}",
                expected="mappings with 'text' and 'label'",
                remedy="rename the columns, or pass texts and labels as two sequences",
            )
        label = item.get("label")
        if "label" in item:
            if label_names is not None and isinstance(label, int) and label >= 0:
                label = label_names.int2str(int(label))
            label = label_string(label, position, task)
        text, pair = _texts_of_mapping(item, position)
        extra = {
            str(key): str(value)
            for key, value in item.items()
            if key not in ("text", "text_pair", "label") and not is_missing(value)
        }
        examples.append(Example(text, label, row=position + 1, extra=extra, text_pair=pair))
    return tuple(examples)


def _example_from_python(item: object, position: int) -> Example:
    """Make an unlabeled example of a string, two strings, or a mapping with both."""
    pair = None
    if isinstance(item, Mapping) and "text" in item:
        text, pair = _texts_of_mapping(item, position)
    elif isinstance(item, tuple | list) and len(item) == 2:
        text, pair = (_checked_text(each, position) for each in item)
    else:
        text = _checked_text(item, position)
    return Example(text, row=position + 1, text_pair=pair)


def _texts_of_mapping(item: Mapping[Any, Any], position: int) -> tuple[str, str | None]:
    pair = item.get("text_pair")
    has_pair = not is_missing(pair)
    return (
        _checked_text(item["text"], position),
        _checked_text(pair, position) if has_pair else None,
    )


def _label_names(texts: object) -> Any:  # noqa: ANN401 - a `datasets` ClassLabel or None
    features = getattr(texts, "features", None)
    label = features.get("label") if isinstance(features, Mapping) else None
    return label if hasattr(label, "int2str") else None


def _checked_text(text: object, position: int) -> str:
    if isinstance(text, str):
        if has_lone_surrogate(text):
            raise DatasetError(
                f"texts[{position}] holds half a surrogate pair: {text[:40]!r}",
                expected="text that can be written as UTF-8",
                remedy="text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
            )
        return str(text)  # numpy's and other subclasses become plain strings
    found = "missing" if is_missing(text) else f"of type {type(text).__name__}: {text!r:.60}"
    raise DatasetError(
        f"texts[{position}] is {found}",
        expected="a string in every place",
        remedy="leave these rows out, or turn them into strings first",
    )

"""Slices: groups of examples in which the model may be worse than elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.intervals import wilson

MOST_VALUES = 20  # of a column that are shown; the rest is one slice
FEWEST = 5  # examples of a column's value; one alone tells nothing
NUM_RANGES = 5  # of lengths, and of columns of many numbers
RISK = 0.05  # that any slice at all is called worse by chance


def slices_dict(
    right: NDArray[np.bool_], values: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Return each slice's accuracy in the form of `metrics.json`, and which are worse.

    Args:
        right: (N,), whether an example was given its true label.
        values: what examples are grouped by, to N values.

    Source:
        A slice is worse if its accuracy is below that of all other examples by Fisher's exact test,
        one-sided, at 5 % over all slices together (Holm 1979).
    """
    from scipy.stats import fisher_exact

    total, total_right = len(right), int(right.sum())
    found: list[dict[str, Any]] = []
    for by, value, here in members(values):
        size, hits = int(here.sum()), int(right[here].sum())
        others, other_hits = total - size, total_right - hits
        p_value = None
        if others:
            table = [[hits, size - hits], [other_hits, others - other_hits]]
            p_value = float(fisher_exact(table, alternative="less").pvalue)
        found.append(
            {
                "by": by,
                "value": value,
                "num_examples": size,
                "accuracy": hits / size,
                "interval": list(wilson(hits, size)),
                "others_accuracy": other_hits / others if others else None,
                "p_value": p_value,
                "is_worse": False,
            }
        )
    mark_worse(found)
    return found


def members(
    values: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield what examples are grouped by, the value of a group, and its members (N,)."""
    for by, each in values.items():
        array = np.asarray(each, dtype=object)
        for value in _order(each):
            yield by, value, array == value


def mark_worse(found: list[dict[str, Any]]) -> None:
    """Set "is_worse" of the slices whose "p_value" is small beside all others'; see Holm above."""
    tested = sorted((s for s in found if s["p_value"] is not None), key=lambda s: s["p_value"])
    for rank, entry in enumerate(tested):
        if entry["p_value"] > RISK / (len(tested) - rank):
            break
        entry["is_worse"] = True


def length_ranges(num_tokens: NDArray[np.int64]) -> list[str]:
    """Return each example's range of lengths, such as "12 to 17 tokens": five of about one size."""
    edges = np.unique(np.quantile(num_tokens, np.linspace(0, 1, NUM_RANGES + 1)).astype(np.int64))
    names, range_of = _ranges(num_tokens.astype(np.float64), edges.astype(np.float64))
    return [f"{names[number]} tokens" for number in range_of.tolist()]


def number_ranges(numbers: NDArray[np.float64], *, between: bool = True) -> list[str]:
    """Return each number's range, such as "above 1.5 to 2": five of about equally many.

    Args:
        numbers: (N,).
        between: whether ranges may meet between two numbers.
    """
    shares = np.linspace(0, 1, NUM_RANGES + 1)
    if between:
        edges = np.quantile(numbers, shares)
    else:
        edges = np.quantile(numbers, shares, method="closest_observation")
    are_whole = bool((numbers == numbers.round()).all())
    names, range_of = _ranges(numbers, np.unique(edges.round() if are_whole else edges))
    return [names[number] for number in range_of.tolist()]


def column_values(cells: Sequence[str | None]) -> list[str]:
    """Return what to group a column by: its values, or ranges of many different numbers.

    Values of fewer than five examples, and of more than 20 values the rarest, are "(others)"; a
    missing cell is "(missing)".
    """
    present = [cell for cell in cells if cell is not None]
    counts = Counter(present)
    if len(counts) > MOST_VALUES and (numbers := _as_numbers(present)) is not None:
        ranges = iter(number_ranges(numbers))
        return ["(missing)" if cell is None else next(ranges) for cell in cells]
    kept = {value for value, count in counts.most_common(MOST_VALUES) if count >= FEWEST}
    return ["(missing)" if cell is None else cell if cell in kept else "(others)" for cell in cells]


def _ranges(
    numbers: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the ranges between edges, and each number's range (N,)."""
    if len(edges) == 1:
        return [_digits(edges[0])], np.zeros(len(numbers), dtype=np.int64)
    is_whole = bool((numbers == numbers.round()).all() and (edges == edges.round()).all())
    range_of = np.clip(np.searchsorted(edges, numbers, side="left") - 1, 0, len(edges) - 2)
    names = []
    for number, (low, high) in enumerate(pairwise(edges.tolist())):
        first = low + (1 if is_whole and number else 0)
        name = f"{_digits(first)} to {_digits(high)}" if first != high else _digits(high)
        names.append(name if is_whole or not number else f"above {_digits(low)} to {_digits(high)}")
    return names, range_of.astype(np.int64)


def _digits(number: float) -> str:
    """Return a number so that two different edges never look alike."""
    return f"{number:.0f}" if number == round(number) and abs(number) < 1e15 else f"{number:.12g}"


def _as_numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _order(values: Sequence[str]) -> list[str]:
    """Return the different values: ranges by their first number, others by size, largest first."""
    counts = Counter(values)

    def key(value: str) -> tuple[float, float, str]:
        first = value.removeprefix("above ").split(" ")[0]
        is_range = " to " in value or value.endswith(" tokens")
        numbers = _as_numbers([first]) if is_range else None
        place = float(numbers[0]) if numbers is not None else float("inf")
        return (place, -counts[value], value)

    return sorted(counts, key=key)

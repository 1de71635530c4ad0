"""Several tables as one, and one part of n of their rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lasttoken.data.inputs import Inputs, find_shard
from lasttoken.data.tables import count_rows, iter_rows
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.events import BadRows, Event, Note

SUFFIXES = [".csv", ".tsv", ".jsonl", ".parquet", ".txt"]


def texts(start: int, stop: int) -> list[str]:
    return [f"text {n}" for n in range(start, stop)]


def write(path: Path, values: list[str | None]) -> Path:
    """Write a column of texts by the path's format; Parquet in row groups of 700."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": pa.array(values, pa.string())}), path, row_group_size=700)
    elif path.suffix == ".jsonl":
        lines = [json.dumps({"text": value}) for value in values]
        path.write_text("\n\n".join(lines) + "\n")  # a blank line is no row
    elif path.suffix == ".txt":
        path.write_text("".join(f"{value}\n" for value in values))
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([["text"], *([value] for value in values)])
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "places", [(0, 5), (3, 1005), (999, 1001), (1000, 1400), (1300, 2500), (2499, 2500), (7, 7)]
)
def test_a_range_gives_these_rows_with_their_own_numbers(
    tmp_path: Path, suffix: str, places: tuple[int, int]
) -> None:
    path = write(tmp_path / f"in{suffix}", list(texts(0, 2500)))
    whole = list(iter_rows(str(path)))
    part = list(iter_rows(str(path), rows=range(*places)))
    assert part == whole[slice(*places)]
    assert count_rows(str(path)) == 2500


def test_a_range_counts_its_own_bad_rows_alone(tmp_path: Path) -> None:
    values: list[str | None] = list(texts(0, 3000))
    values[10] = values[2000] = values[2001] = None
    path = write(tmp_path / "in.parquet", values)
    found = []
    for places in (range(1500), range(1500, 3000)):
        events: list[Event] = []
        reader = iter_rows(str(path), skip_bad_rows=True, rows=places, on_event=events.append)
        rows = list(reader.require("text"))
        (bad,) = [event for event in events if isinstance(event, BadRows)]
        found.append((len(rows), bad.count, bad.rows))
    assert found == [(1499, 1, (11,)), (1498, 2, (2001, 2002))]


def test_a_fault_outside_of_the_range_is_for_others_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\nbroken\n{"text": "b"}\n')
    assert list(iter_rows(str(path), rows=range(2, 3))) == [(3, {"text": "b"})]
    with pytest.raises(DatasetError, match="line 2 is broken JSON"):
        list(iter_rows(str(path), rows=range(1, 3)))


@pytest.mark.parametrize("number_of_parts", [1, 2, 3, 7, 30])
def test_the_parts_joined_are_the_whole_whatever_the_files(
    tmp_path: Path, number_of_parts: int
) -> None:
    sizes = [5, 1, 12, 1]
    paths = [str(write(tmp_path / f"{n}{suffix}", list(texts(10 * n, 10 * n + size))))
             for n, (suffix, size) in enumerate(zip(SUFFIXES[1:], sizes, strict=True))]  # fmt: skip
    whole = [row["text"] for row in Inputs(paths)]
    assert len(whole) == sum(sizes)
    joined = []
    for number in range(1, number_of_parts + 1):
        shard = find_shard(paths, number, number_of_parts)
        part = [row["text"] for row in Inputs(paths, ranges=shard.ranges())]
        assert len(part) == shard.stop - shard.start
        assert abs(len(part) - len(whole) / number_of_parts) < 1
        joined += part
    assert joined == whole


def test_a_pipe_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--shard 1/2: the rows of standard input cannot be"):
        find_shard([str(write(tmp_path / "a.csv", ["x"])), "-"], 1, 2)


def test_columns_may_stand_in_another_order_but_must_be_the_same(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{n}.csv" for n in range(3))
    first.write_text("id,text\n1,a\n")
    second.write_text("text;id\nb;2\n")
    third.write_text("text,name\nc,x\n")
    inputs = Inputs([str(first), str(second)])
    assert inputs.columns == ("id", "text")
    assert list(inputs) == [{"id": "1", "text": "a"}, {"text": "b", "id": "2"}]
    with pytest.raises(DatasetError) as caught:  # at once, not when its turn comes
        Inputs([str(first), str(third)])
    assert caught.value.found == f"{third}: has no column 'id'"
    assert caught.value.expected == f"the columns of {first}: 'id', 'text'"
    third.write_text("text,id,name\nc,3,x\n")
    with pytest.raises(DatasetError, match="has a column 'name'"):
        Inputs([str(first), str(third)])


@pytest.mark.parametrize(
    ("content", "found"),
    [("", "the file is empty"), ("text\n", "no rows below the column names")],
)
def test_a_file_without_rows_among_others_is_told_before_any_row(
    tmp_path: Path, content: str, found: str
) -> None:
    first, empty = write(tmp_path / "a.csv", ["x"]), tmp_path / "b.csv"
    empty.write_text(content)
    with pytest.raises(DatasetError) as caught:
        Inputs([str(first), str(empty)])
    assert caught.value.found == f"{empty}: {found}"


def test_standard_input_can_be_named_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="standard input is named twice"):
        Inputs(["-", "-"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_share_that_was_read_grows_from_0_to_1(tmp_path: Path, suffix: str) -> None:
    values = [f"{text} {'x' * 90}" for text in texts(0, 6000)]
    paths = [str(write(tmp_path / f"{n}{suffix}", list(values))) for n in range(2)]
    inputs = Inputs(paths)
    shares = [inputs.share_read() for _ in inputs]
    assert all(share is not None for share in shares)
    assert shares == sorted(shares)
    for place, share in enumerate(shares):
        assert share == pytest.approx(place / 12_000, abs=0.15)
    assert inputs.share_read() == 1.0


def test_keys_that_come_too_late_are_told_but_not_without_end(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = [json.dumps({"text": "a", **({f"key {n}": 1} if n > 1000 else {})})
             for n in range(1100)]  # fmt: skip
    path.write_text("\n".join(lines))
    events: list[Event] = []
    assert len(list(iter_rows(str(path), on_event=events.append))) == 1100
    told = [event.text for event in events if isinstance(event, Note)]
    assert len(told) == 11
    assert "key 'key 1001' is left out" in told[0]
    assert told[-1] == f"{path}: more keys than these 10 are left out"

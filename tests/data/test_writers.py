"""Writing tables: complete or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lasttoken.data.writers import open_writer, write_table
from lasttoken.errors import ConfigError, RunError

ROW = {"text": "a,b", "n": np.int64(3), "p": 0.1, "cut": True, "none": None}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("out.csv", 'text,n,p,cut,none\n"a,b",3,0.1,true,\n'),
        ("out.tsv", "text\tn\tp\tcut\tnone\na,b\t3\t0.1\ttrue\t\n"),
        ("out.jsonl", '{"text": "a,b", "n": 3, "p": 0.1, "cut": true, "none": null}\n'),
    ],
)
def test_each_format_is_written_as_expected(tmp_path: Path, name: str, content: str) -> None:
    with open_writer(str(tmp_path / name), list(ROW)) as writer:
        writer.write([ROW])
    assert (tmp_path / name).read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_parquet_columns_have_the_types_of_their_values(tmp_path: Path) -> None:
    with open_writer(str(tmp_path / "out.parquet"), list(ROW)) as writer:
        writer.write([ROW])
        writer.write([ROW, ROW])
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 3
    assert table.schema.types == [pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.string()]


def test_a_parquet_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    with open_writer(str(tmp_path / "out.parquet"), ["text"]):
        pass
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["text"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    path.write_text("old")

    def fail() -> None:
        with open_writer(str(path), ["text"], overwrite=True) as writer:
            writer.write([{"text": "a"}])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_standard_output_gets_csv_after_every_write(capsysbinary: pytest.CaptureFixture) -> None:
    with open_writer(None, ["text", "p"]) as writer:
        writer.write([{"text": "é", "p": 0.5}])
        assert capsysbinary.readouterr().out.decode() == "text,p\né,0.5\n"


def test_an_existing_output_is_kept_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(RunError, match="exists already") as caught:
        open_writer(str(tmp_path / "out.csv"), ["text"])
    assert "--overwrite" in caught.value.remedy


def test_a_folder_or_device_is_never_renamed_over(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(RunError, match="a folder or a device"):
        open_writer(str(tmp_path / "out.csv"), ["text"], overwrite=True)


def test_a_missing_output_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist") as caught:
        open_writer(str(tmp_path / "new" / "out.csv"), ["text"])
    assert caught.value.remedy == f"mkdir -p {tmp_path / 'new'}"


def test_an_unknown_output_format_is_told() -> None:
    with pytest.raises(ConfigError, match=r"unknown kind of table '\.xlsx'"):
        open_writer("out.xlsx", ["text"])


def test_a_whole_table_is_written_with_nested_values(tmp_path: Path) -> None:
    columns = {"row": [1, 2], "label": ["x", "y"], "logits": [[0.5, 1.5], [2.5, 3.5]]}
    write_table(tmp_path / "test.parquet", columns)
    assert pq.read_table(tmp_path / "test.parquet").to_pydict() == columns
    assert [path.name for path in tmp_path.iterdir()] == ["test.parquet"]

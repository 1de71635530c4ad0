"""Tables pass through in constant memory, whatever their number of rows and row groups."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")

COPY = """
import itertools, sys
from lasttoken.data.tables import iter_rows
from lasttoken.data.writers import open_writer
reader = iter_rows(sys.argv[1])
rows = (row for _, row in reader)
with open_writer(sys.argv[2], reader.columns) as writer:
    while chunk := list(itertools.islice(rows, 2_000)):
        writer.write(chunk)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def write(path: Path, num_rows: int) -> None:
    """Write texts that cannot be compressed, all in one row group."""
    texts = np.random.default_rng(7).integers(97, 123, (num_rows, 400), dtype=np.uint8)
    column = pa.array([bytes(text).decode() for text in texts])
    pq.write_table(pa.table({"text": column}), path, row_group_size=num_rows)


def peak_of_copying(source: Path, target: Path) -> int:
    """Return the peak of resident memory, in bytes, of a process that copies a table."""
    words = [sys.executable, "-c", COPY, str(source), str(target)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".jsonl"])
def test_the_peak_does_not_grow_with_the_number_of_rows(tmp_path: Path, kind: str) -> None:
    # On a busy machine one run in four peaks some 24 MiB higher, at any number of rows.
    peaks = []
    for num_rows in (20_000, 120_000):
        source = tmp_path / f"{num_rows}.parquet"
        write(source, num_rows)
        targets = [tmp_path / f"out-{num_rows}-{run}{kind}" for run in range(3)]
        peaks.append(min(peak_of_copying(source, target) for target in targets))
    grown = peaks[1] - peaks[0]
    assert grown < 0.1 * peaks[0], f"{grown / 2**20:.1f} MiB more for {100_000 * 400 / 2**20:.1f}"
    if kind == ".parquet":
        out = pq.ParquetFile(tmp_path / "out-120000-0.parquet")
        assert out.metadata.num_rows == 120_000
        assert out.metadata.num_row_groups == 24

"""`lasttoken predict --engine ray`: the file of one process, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Command, check_refused
from lasttoken.config import PredictConfig
from lasttoken.deploy import ranges as worker
from lasttoken.deploy.ray import _prepare
from lasttoken.errors import RunError
from lasttoken.events import ignore

NUM_ROWS = 20_000
BAD_ROW = 7_000  # of the table that has one
FP32 = ("--precision", "fp32")


def write(path: Path, num_rows: int = NUM_ROWS, bad: int | None = None) -> Path:
    """Write ids, texts, and notes of which many are missing, in three row groups."""
    texts = [f"film {n}, " + "good bad " * (n % 9) for n in range(num_rows)]
    table = {
        "id": list(range(num_rows)),
        "text": [None if n == bad else text for n, text in enumerate(texts)],
        "note": pa.array([None if n % 3 else "-" for n in range(num_rows)], pa.string()),
    }
    pq.write_table(pa.table(table), path, row_group_size=num_rows // 3 + 1)
    return path


@pytest.fixture
def predict(lasttoken: Command, finished_run: Path) -> Command:
    return lambda *words: lasttoken("predict", finished_run, *words, *FP32)


class Started:
    """A command of ours in a process of its own, with one thread and two cores for Ray."""

    def __init__(self, *words: object, address: str = "") -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "RAY_ADDRESS": address,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lasttoken", "predict", *map(str, words)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[int, str]:
        _, err = self._process.communicate(timeout=240)
        return self._process.returncode, err

    def workers(self) -> list[int]:
        """Return the numbers of the processes that classify for it at this moment."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    title = (folder / "cmdline").read_bytes().decode(errors="replace")
                    is_ours = self._process.pid in _ancestors(int(folder.name))
                except OSError:  # it has ended
                    continue
                if is_ours and "RangeClassifier" in title and "__init__" not in title:
                    found.append(int(folder.name))
        return found

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None


def _ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        status = Path(f"/proc/{process}/stat").read_text()
        process = int(status.rpartition(")")[2].split()[1])
        found.append(process)
    return found


def by_one_process(run: Path, target: Path, *words: object) -> bytes:
    code, err = Started(run, *words, "--output", target, *FP32).end()
    assert code == 0, err
    return target.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are looked for in /proc")
def test_two_workers_one_of_them_killed_give_the_file_of_one_process(
    finished_run: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    paths = [write(tmp_path / "a.parquet"), write(tmp_path / "b.parquet", 5_000)]
    expected = by_one_process(finished_run, tmp_path / "one.parquet", *paths)
    target = tmp_path / "many.parquet"
    started = Started(finished_run, *paths, "--output", target, "--engine", "ray",
                      "--num-workers", 2, *FP32)  # fmt: skip
    killed = None
    while started.is_running and killed is None:
        workers = started.workers()
        if len(workers) == 2:
            time.sleep(0.5)  # in the middle of its range
            killed = workers[0]
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.05)
    code, err = started.end()
    assert code == 0, err
    assert killed is not None, "no worker was caught at work"
    assert "Ray: 2 workers of" in err
    assert f"25,000 texts classified into {target}" in err
    assert target.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.parquet", "b.parquet", "many.parquet", "one.parquet"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_bad_row_is_told_as_by_one_process(finished_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    source = write(tmp_path / "in.parquet", 9_000, BAD_ROW)
    target = tmp_path / "out.csv"
    by_ray = ("--output", target, "--engine", "ray", *FP32)
    code, err = Started(finished_run, source, *by_ray).end()
    assert code == 2, err
    assert err.splitlines()[-3:] == [
        f"error: {source}: row 7,001, column 'text': no value (null)",
        "expected: a value in every row",
        "try: fill the cell, or give --skip-bad-rows",
    ]
    assert not target.exists()
    words = (source, "--skip-bad-rows")
    expected = by_one_process(finished_run, tmp_path / "one.csv", *words)
    code, err = Started(finished_run, *words, *by_ray).end()
    assert code == 0, err
    assert f"warning: {source}: 1 bad row skipped; first row 7,001" in err
    assert target.read_bytes() == expected


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told(finished_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = (write(tmp_path / "in.parquet", 3), "--output", tmp_path / "out.csv", "--engine", "ray")
    code, err = Started(finished_run, *words, address="nonsense").end()
    assert code == 2, err
    assert err.splitlines()[-3:] == [
        "error: Ray: Invalid address format: nonsense",
        "expected: the cluster that RAY_ADDRESS names, or a machine on which Ray can start one",
        "try: ray status, or do without --engine ray",
    ]
    assert not (tmp_path / "out.csv").exists()


def classified(config: PredictConfig, ranges: list[dict[str, object]]) -> list[dict[str, object]]:
    """Let one worker, in this process, do all ranges."""
    job = _prepare(config, ignore)
    work = worker.RangeClassifier(job)
    received = worker.Received()
    rows = []
    for each in ranges:
        batch = {key: np.array([value]) for key, value in each.items()}
        for table in work(batch):
            rows += received.rows_of(table.to_pylist())
    assert all(list(row) == list(job.columns) for row in rows)
    rows.append({"skipped": {file: each.text for file, each in received.skipped.items()}})
    return rows


def test_workers_give_what_one_process_gives_row_by_row(
    finished_run: Path, predict: Command, tmp_path: Path
) -> None:
    paths = [write(tmp_path / "a.parquet", 1_500), write(tmp_path / "b.parquet", 40)]
    target = tmp_path / "one.parquet"
    assert predict(*paths, "--output", target).code == 0
    config = PredictConfig(
        run=str(finished_run), input=tuple(map(str, paths)), precision="fp32", engine="ray",
        output=str(tmp_path / "out.parquet"),
    )  # fmt: skip
    ranges = worker.divide(config.input, (1_500, 40), 400)
    assert [(each["start"], each["stop"]) for each in ranges] == [
        (0, 400), (400, 800), (800, 1200), (1200, 1500), (0, 40)
    ]  # fmt: skip
    *rows, _ = classified(config, ranges)
    assert rows == pq.read_table(target).to_pylist()


def test_bad_rows_of_all_ranges_are_counted_together(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    texts = [None if n in (3, 150, 151) else f"text {n}" for n in range(300)]
    pq.write_table(pa.table({"text": texts}), path)
    config = PredictConfig(
        run=str(finished_run), input=(str(path),), engine="ray", skip_bad_rows=True,
        output=str(tmp_path / "out.csv"),
    )  # fmt: skip
    *rows, last = classified(config, worker.divide(config.input, (300,), 100))
    assert [row["text"] for row in rows] == [text for text in texts if text]
    (text,) = last["skipped"].values()  # type: ignore[attr-defined]
    assert text.startswith(f"{path}: 3 bad rows skipped; first row 4: {path}: row 4, column 'text'")
    with pytest.raises(RunError, match="row 4, column 'text': no value"):
        classified(replace(config, skip_bad_rows=False), worker.divide(config.input, (300,), 100))


def test_a_worker_with_other_weights_is_refused(
    finished_run: Path, run_copy: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "in.parquet", 30)
    config = PredictConfig(
        run=str(run_copy), input=(str(path),), engine="ray", output=str(tmp_path / "out.csv")
    )
    job = _prepare(config, ignore)
    other = replace(job, context={**job.context, "weights": "0" * 64})
    batch = {key: np.array([value]) for key, value in
             worker.divide(config.input, (30,), 30)[0].items()}  # fmt: skip
    (table,) = worker.RangeClassifier(other)(batch)
    given = table.to_pylist()
    assert "weights" in json.loads(given[0]["lasttoken:message"])["error"][0]
    with pytest.raises(RunError) as caught:
        worker.Received().rows_of(given)
    assert caught.value.expected == "the same model everywhere"


@pytest.mark.parametrize(
    ("words", "found", "expected", "remedy"),
    [
        (("in.csv",), "--engine ray with in.csv", "Parquet files, which workers can read",
         "write the input as Parquet, or leave --engine ray out"),
        (("-", "--format", "parquet"), "--engine ray with -", "Parquet files",
         "write the input as Parquet, or leave --engine ray out"),
        (("in.parquet", "--shard", "1/2"), "--shard 1/2 with --engine ray",
         "one of the two: Ray divides the rows among its workers itself", "leave --shard out"),
        (("in.parquet", "--num-workers", "0"), "--num-workers 0", "--num-workers a number above 0",
         "give another value"),
    ],
)  # fmt: skip
def test_what_ray_cannot_do_is_refused_by_name(
    predict: Command, words: tuple[str, ...], found: str, expected: str, remedy: str
) -> None:
    check_refused(
        predict(*words, "--engine", "ray", "--output", "out.csv"),
        found=found,
        expected=expected,
        remedy=remedy,
    )


def test_ray_wants_an_output_file_and_workers_want_ray(predict: Command) -> None:
    check_refused(
        predict("in.parquet", "--engine", "ray"),
        found="--engine ray without --output",
        expected="a file: Ray itself writes to standard output",
        remedy="--output labels.parquet",
    )
    check_refused(
        predict("in.parquet", "--num-workers", "3"),
        found="--num-workers 3 without --engine ray",
        expected="workers of a Ray cluster",
        remedy="--engine ray --num-workers 3",
    )


def test_without_ray_the_extra_is_named(
    predict: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in.parquet", 3)
    monkeypatch.setitem(sys.modules, "ray", None)
    check_refused(
        predict(source, "--engine", "ray", "--output", "out.csv"),
        found="ray: not installed",
        expected="the extra 'ray'",
        remedy="pip install 'lasttoken[ray]'",
    )

"""A run of any kind of task that is stopped goes on to the very same bits."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import Runs
from test_resume import Case

from test_task_commands import LEVELS, NUMBERS, SETS, write

TASKS = {
    "multi-label": ({"labels": SETS}, ()),
    "ordinal": ({"labels": LEVELS}, ("--label-order", "low,mid,high")),
    "regression": ({"labels": NUMBERS}, ()),
}


# One kind in the default suite; the others differ from it in targets alone.
@pytest.fixture(
    params=[
        "multi-label",
        *(pytest.param(t, marks=pytest.mark.slow) for t in TASKS if t != "multi-label"),
    ]
)
def case(request: pytest.FixtureRequest, tiny_gpt2: Path, tmp_path: Path) -> Iterator[Case]:
    columns, more = TASKS[request.param]
    with Runs(tmp_path) as runs:
        data = write(tmp_path / "data.csv", **columns)
        yield Case(runs, data, tiny_gpt2, "--task", request.param, *more,
                   "--validation", "0.2", "--test", "0.2")  # fmt: skip


def test_a_stopped_run_goes_on_to_the_same_bits(case: Case) -> None:
    for name, batch in (("in-epoch-1", 4), ("in-epoch-3", 14)):  # 6 batches an epoch
        assert case.run(name, by=signal.SIGTERM, stop_at_batch=batch) == 128 + signal.SIGTERM
        assert (case.folder / name / "checkpoints" / "LATEST").exists()
        case.check(name)

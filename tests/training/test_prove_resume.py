"""The long proofs of resuming: every crash point, every failing call, 300 random kills.

`make prove-resume`; what they gave stands in docs/proofs.md.
"""

from __future__ import annotations

import errno

import pytest
from test_resume import Case, case, die_at, fail_at, kill_at_random

__all__ = ["case"]  # the fixture

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7_200)]


def test_a_run_that_dies_at_any_call_to_the_system_goes_on(case: Case) -> None:
    for number in range(1, len(case.calls) + 1):
        die_at(case, number)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_fails_at_any_call_costs_no_checkpoint(case: Case, error: int) -> None:
    for number in range(1, len(case.calls) + 1):
        fail_at(case, number, error)


def test_300_runs_that_are_killed_at_random_end_the_same(case: Case) -> None:
    for seed in range(1_000, 1_300):
        kill_at_random(case, seed)

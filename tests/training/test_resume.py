"""A run that is killed, at any moment, and started again is the run that was never killed."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import KILLED, Runs, result

from conftest import write_reviews

# Dropout on, two batches a step, three epochs, a checkpoint in the middle of each.
SETTINGS = (
    "--num-epochs", "3", "--batch-size", "4", "--gradient-accumulation-steps", "2",
    "--learning-rate", "3e-3", "--max-length", "32", "--precision", "fp32",
    "--checkpoint-steps", "2",
)  # fmt: skip


class Case:
    """A command, and what it gives when nobody disturbs it."""

    def __init__(
        self, runs: Runs, data: Path, model: Path, *more: str, folder: Path | None = None
    ) -> None:
        self.runs, self.folder = runs, folder or runs.folder
        self.words = ("train", data, "--model", model, *SETTINGS, *more)
        calls, trace = self.folder / "calls.txt", self.folder / "trace.txt"
        assert self.run("undisturbed", calls=str(calls), trace=str(trace)) == 0, runs.printed()
        self.expected = result(self.folder / "undisturbed")
        self.calls = calls.read_text().splitlines()
        self.order = set(trace.read_text().splitlines())

    def run(self, name: str, **options: Any) -> int:
        return self.runs.run(*self.words, "--output-dir", self.folder / name, **options)

    def start(self, name: str, **options: Any) -> int:
        return self.runs.start(*self.words, "--output-dir", self.folder / name, **options)

    def check(self, name: str, **options: Any) -> None:
        """Run the command again, and compare all there is."""
        code = self.run(name, **options)
        assert code == 0, self.runs.printed()
        assert result(self.folder / name) == self.expected


@pytest.fixture(scope="module")
def case(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("resume")
    with Runs(folder) as runs:
        yield Case(runs, write_reviews(folder / "reviews.csv"), tiny_gpt2)


def test_a_finished_run_leaves_neither_checkpoints_nor_a_lock(case: Case) -> None:
    names = {path.name for path in (case.folder / "undisturbed").iterdir()}
    assert names == {
        "model", "run.json", "history.jsonl", "metrics.json", "report.html", "predictions"
    }  # fmt: skip
    assert len(case.expected["history"]) == 3
    assert len(case.order) == 3 * 8


def die_at(case: Case, number: int) -> None:
    name = f"dies-at-{number}"
    assert case.run(name, die_at=number) == KILLED, case.runs.printed()
    case.check(name)


# Some calls in the default suite, 30 in the slow one, all of them in test_prove_resume.py.
@pytest.mark.parametrize("num_calls", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_a_run_that_dies_at_any_call_to_the_system_goes_on(case: Case, num_calls: int) -> None:
    assert len(case.calls) > 150
    chance = random.Random(num_calls)
    for number in chance.sample(range(1, len(case.calls) + 1), num_calls):
        die_at(case, number)


# ---- killed at random ----


def kill_at_random(case: Case, seed: int) -> None:
    """Run with up to three kills, most of them behind the first checkpoint, then to the end."""
    chance, name = random.Random(seed), f"killed-{seed}"
    trace = case.folder / f"{name}.trace"
    folder = case.folder / name
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.2:  # while something is written
            code = case.run(name, trace=str(trace), kill_at=chance.randint(1, len(case.calls)))
        else:
            process = case.start(name, trace=str(trace))
            if chance.random() < 0.8:
                wait_until(lambda: (folder / "checkpoints" / "LATEST").exists(), process)
            time.sleep(chance.uniform(0, 0.4))
            case.runs.kill(process, signal.SIGKILL)
            code = case.runs.wait(process)
        assert code in (0, KILLED), case.runs.printed()
    case.check(name, trace=str(trace))
    assert set(trace.read_text().splitlines()) == case.order


def wait_until(is_so: Callable[[], bool], process: int) -> None:
    """Wait until something is so, or a process has ended (it is a zombie until waited for)."""
    while not is_so() and "State:\tZ" not in Path(f"/proc/{process}/status").read_text():
        time.sleep(0.001)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))]
)
def test_a_run_that_is_killed_at_random_up_to_three_times_ends_the_same(
    case: Case, seed: int
) -> None:
    kill_at_random(case, seed)


# ---- stopped at every kind of place ----

# 32 training examples in batches of 4, two a step: 8 batches and 4 steps an epoch. The first
# validation is that of the model as it starts.
PLACES = {
    "between the batches of a step": {"stop_at_batch": 4},
    "in the middle of an epoch": {"stop_at_batch": 5},
    "before the last batch": {"stop_at_batch": 8},
    "behind the last step of an epoch": {"stop_in_validation": 2},
    "in the second epoch, behind the best": {"stop_at_batch": 10},
    "in the second validation": {"stop_in_validation": 3},
    "in the last epoch": {"stop_at_batch": 23},
    "in the last validation": {"stop_in_validation": 4},
}


@pytest.fixture(scope="module")
def last_block_case(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("resume-last")
    with Runs(folder) as runs:
        data = write_reviews(folder / "reviews.csv")
        yield Case(runs, data, tiny_gpt2, "--trainable", "last-1", "--early-stopping-patience", "2")


@pytest.fixture(scope="module")
def lora_case(case: Case, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("resume-lora")
    data = write_reviews(folder / "reviews.csv")
    return Case(case.runs, data, tiny_gpt2, *LORA, folder=folder)


LORA = ("--trainable", "lora", "--lora-rank", "4", "--lora-dropout", "0.1", "--depth", "1",
        "--layer-decay", "0.8", "--gradient-checkpointing", "--focal-gamma", "1", "--sampling",
        "balanced")  # fmt: skip
CASES = {"full": "case", "last-1": "last_block_case", "lora": "lora_case"}


def is_quick(place: str, trainable: str, by: int, times: int) -> bool:
    rows = (("full", signal.SIGTERM, 1), ("lora", signal.SIGTERM, 1))
    is_in_second_epoch = place == "in the second epoch, behind the best"
    return (trainable, by, times) in rows and (trainable == "full" or is_in_second_epoch)


# The whole matrix in the slow suite, a row of it and a cell in the default one.
CELLS = [
    pytest.param(*cell, marks=() if is_quick(*cell) else pytest.mark.slow)
    for cell in (
        (place, trainable, by, times)
        for place in PLACES
        for trainable, signals in (
            ("full", (signal.SIGTERM, signal.SIGKILL)),
            ("last-1", (signal.SIGTERM,)),
            ("lora", (signal.SIGTERM,)),
        )
        for by in signals
        for times in (1, 2)
    )
]


@pytest.mark.parametrize(("place", "trainable", "by", "times"), CELLS)
def test_a_stopped_run_goes_on_bit_for_bit(
    place: str, trainable: str, by: int, times: int, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(CASES[trainable])
    name = f"{place}-{by}-{times}".replace(" ", "-")
    trace = case.folder / f"{name}.trace"
    code = case.run(name, by=by, trace=str(trace), **PLACES[place])
    assert code == 128 + by
    if times == 2:  # again in the same epoch, one batch further on
        code = case.run(name, by=by, trace=str(trace), stop_at_batch=2)
        assert code in (0, 128 + by), case.runs.printed()
    printed = case.runs.printed()
    if by != signal.SIGKILL:
        again = f"lasttoken train {case.folder}/reviews.csv"
        assert f"interrupted; to go on from what is saved: {again}" in printed
        assert "Traceback" not in printed
    case.check(name, trace=str(trace))
    if by != signal.SIGKILL and code != 0:
        assert "going on from checkpoint 0000" in case.runs.printed()
    assert set(trace.read_text().splitlines()) == case.order


@pytest.mark.slow
def test_a_stopped_run_over_windows_goes_on_bit_for_bit(tiny_gpt2: Path, tmp_path: Path) -> None:
    """Frozen blocks, a template, and several windows a text: 9 tokens of text in each."""
    words = (
        "--trainable",
        "last-1",
        "--template",
        "What to say about {text}?",
        "--long",
        "windows",
    )
    with Runs(tmp_path) as runs:
        case = Case(runs, write_reviews(tmp_path / "reviews.csv"), tiny_gpt2, *words)
        assert case.run("stopped", by=signal.SIGTERM, stop_at_batch=13) == 143
        case.check("stopped")
        assert "going on from checkpoint 0000" in runs.printed()


def test_a_stopped_run_is_saved_at_the_step_at_hand(case: Case) -> None:
    assert case.run("saved", by=signal.SIGTERM, stop_at_batch=10) == 143
    checkpoints = case.folder / "saved" / "checkpoints"
    latest = (checkpoints / "LATEST").read_text().strip()
    assert latest.endswith("-step-5")  # batches 9 and 10 make the fifth step
    state = json.loads((checkpoints / latest / "state.json").read_text())
    assert (state["epoch"], state["step"], state["kept_epoch"]) == (1, 5, 1)
    record = json.loads((case.folder / "saved" / "run.json").read_text())
    assert record["status"] == "unfinished"
    case.check("saved")
    record = json.loads((case.folder / "saved" / "run.json").read_text())
    assert [entry["step"] for entry in record["resumed"]] == [5]


def test_ctrl_c_saves_and_prints_the_command_that_goes_on(case: Case) -> None:
    assert case.run("ctrl-c", by=signal.SIGINT, stop_at_batch=10) == 130
    again = f"interrupted; to go on from what is saved: lasttoken train {case.folder}/reviews.csv"
    assert again in case.runs.printed()
    case.check("ctrl-c")


def test_a_second_ctrl_c_leaves_at_once_and_what_was_saved_is_whole(case: Case) -> None:
    """The second one comes while the first one's checkpoint is written."""
    assert case.run("twice", by=signal.SIGINT, stop_at_batch=14, again_at="LATEST") == 130
    printed = case.runs.printed()
    assert "Traceback" not in printed
    assert "interrupted; to go on from what is saved" in printed
    checkpoints = case.folder / "twice" / "checkpoints"
    assert (checkpoints / "LATEST").read_text().strip().endswith("-step-6")  # the one before
    case.check("twice")
    assert "-step-6: 6 of 12 steps" in case.runs.printed()


def test_a_run_that_is_stopped_in_its_last_save_stops_there(case: Case) -> None:
    calls = [n for n, call in enumerate(case.calls, start=1) if "-step-12" in call]
    assert case.run("last-save", signal_at=calls[0], by=signal.SIGTERM) == 143
    assert not (case.folder / "last-save" / "model").exists()
    case.check("last-save")


# ---- damage ----


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


FILES = ("weights-000.safetensors", "optimizer-exp_avg-000.safetensors",
         "optimizer-step-000.safetensors", "progress-000.safetensors", "state.json",
         "manifest.json")  # fmt: skip


@pytest.fixture(scope="module")
def stopped(case: Case) -> Path:
    """A run stopped in its second epoch, with two checkpoints or more."""
    assert case.run("stopped", by=signal.SIGTERM, stop_at_batch=14) == 143
    return case.folder / "stopped"


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, Path.unlink])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    file: str, damage: Callable[[Path], None], case: Case, stopped: Path
) -> None:
    name = f"{damage.__name__}-{file}"
    run = Path(shutil.copytree(stopped, case.folder / name))
    names = sorted(path.name for path in (run / "checkpoints").glob("0*"))
    damage(run / "checkpoints" / names[-1] / file)
    case.runs.printed()
    case.check(name)
    printed = case.runs.printed()
    assert f"warning: checkpoint {names[-1]} is damaged: {file} " in printed
    assert f"going on from checkpoint {names[-2]}: " in printed


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, Path.unlink])
def test_a_damaged_pointer_to_the_latest_checkpoint_costs_nothing(
    damage: Callable[[Path], None], case: Case, stopped: Path
) -> None:
    name = f"{damage.__name__}-LATEST"
    run = Path(shutil.copytree(stopped, case.folder / name))
    damage(run / "checkpoints" / "LATEST")
    case.check(name)


def test_where_no_checkpoint_is_whole_training_starts_anew_and_says_so(
    case: Case, stopped: Path
) -> None:
    run = Path(shutil.copytree(stopped, case.folder / "all-damaged"))
    for path in (run / "checkpoints").glob("0*/state.json"):
        empty(path)
    case.runs.printed()
    case.check("all-damaged")
    assert "no checkpoint is whole: training starts from its beginning" in case.runs.printed()


@pytest.mark.parametrize("num_calls", [4, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_a_full_or_forbidden_disk_is_told_in_three_lines_and_costs_no_checkpoint(
    case: Case, error: int, num_calls: int
) -> None:
    chance = random.Random(error)
    for number in chance.sample(range(1, len(case.calls) + 1), num_calls):
        fail_at(case, number, error)


def fail_at(case: Case, number: int, error: int) -> None:
    name = f"{errno.errorcode[error]}-{number}"
    case.runs.printed()
    code = case.run(name, fail_at=number, error=error)
    printed = case.runs.printed()
    assert "Traceback" not in printed
    assert code == 2, printed
    *_, found, expected, remedy = printed.splitlines()
    assert found.startswith("error: ")
    assert found.endswith(os.strerror(error))
    assert expected.startswith("expected: ")
    assert remedy.startswith("try: ")
    case.check(name)

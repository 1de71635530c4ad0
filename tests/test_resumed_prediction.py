"""A prediction that was killed and started again gives the file that it would have given."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import KILLED, Runs

NUM_TEXTS = 9_000  # five chunks


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("predict")
    lines = [f"text {n}, {'good' if n % 2 else 'bad'}" for n in range(NUM_TEXTS)]
    (folder / "texts.txt").write_text("\n".join(lines))
    with Runs(folder) as started:
        yield started


@pytest.fixture(scope="module")
def expected(runs: Runs, finished_run: Path) -> bytes:
    assert predict(runs, finished_run, "undisturbed.csv") == 0, runs.printed()
    content = (runs.folder / "undisturbed.csv").read_bytes()
    assert content.count(b"\n") == NUM_TEXTS + 1
    return content


def status(process: int) -> str:
    return Path(f"/proc/{process}/status").read_text()


def predict(runs: Runs, run: Path, name: str, *flags: object, **options: object) -> int:
    words = ("predict", run, runs.folder / "texts.txt", "--output", runs.folder / name, *flags)
    return runs.run(*words, "--precision", "fp32", **options)


@pytest.mark.parametrize("call", [1, 2, 5, 6, 9, 12, 20])
def test_a_prediction_that_dies_at_a_call_to_the_system_goes_on(
    call: int, runs: Runs, finished_run: Path, expected: bytes
) -> None:
    name = f"dies-{call}.csv"
    assert predict(runs, finished_run, name, die_at=call) == KILLED
    assert not (runs.folder / name).exists()
    runs.printed()
    assert predict(runs, finished_run, name) == 0
    assert (runs.folder / name).read_bytes() == expected
    if call > 6:
        assert "texts were classified before the interruption, and not again" in runs.printed()
    assert [path.name for path in runs.folder.glob(f".{name}*")] == []


@pytest.mark.parametrize(
    "suffix",
    ["csv", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jsonl", "parquet"))],
)
@pytest.mark.parametrize("flags", [(), ("--shard", "2/2")])
def test_a_prediction_that_is_killed_five_times_gives_the_same_bytes(
    suffix: str, flags: tuple[str, ...], runs: Runs, finished_run: Path
) -> None:
    name = f"killed-{len(flags)}.{suffix}"
    assert predict(runs, finished_run, f"whole-{name}", *flags) == 0
    for _ in range(5):
        # A chunk takes six calls: once all chunks are kept, an attempt may reach its end.
        code = predict(runs, finished_run, name, *flags, kill_at=8)
        if code == 0:
            break
        assert code == KILLED
        assert not (runs.folder / name).exists()
    if code:
        assert predict(runs, finished_run, name, *flags) == 0
    expected = (runs.folder / f"whole-{name}").read_bytes()
    assert (runs.folder / name).read_bytes() == expected
    left = {path.name for path in runs.folder.glob(f"*{name}*")} - {f"whole-{name}", name}
    assert all(path.endswith(".shard.json") for path in left)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_prediction_that_is_stopped_at_any_time_goes_on(
    number: int, runs: Runs, finished_run: Path, expected: bytes
) -> None:
    name = f"stopped-{number}.csv"
    output = runs.folder / name
    for seed in range(2):
        words = ("predict", finished_run, runs.folder / "texts.txt", "--output", output)
        process = runs.start(*words, "--precision", "fp32")
        answers = runs.folder / f".{name}.lasttoken-answers"
        while not answers.exists() and "State:\tZ" not in status(process):
            time.sleep(0.001)
        time.sleep(random.Random(seed).uniform(0, 0.5))
        runs.kill(process, number)
        code = runs.wait(process)
        assert code in (0, 128 + number)
        if output.exists():  # the signal came when all was written
            assert output.read_bytes() == expected
            break
        assert code != 0
        if number != signal.SIGKILL:
            assert "interrupted; the same again: lasttoken predict" in runs.printed()
    if code:
        again = ("--overwrite",) if output.exists() else ()
        assert predict(runs, finished_run, name, *again) == 0
    assert output.read_bytes() == expected
    assert [path.name for path in runs.folder.glob(f".{name}*")] == []


def test_damaged_answers_are_given_again(runs: Runs, finished_run: Path, expected: bytes) -> None:
    assert predict(runs, finished_run, "damaged.csv", die_at=20) == KILLED
    for path in (runs.folder / ".damaged.csv.lasttoken-answers").glob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert predict(runs, finished_run, "damaged.csv") == 0
    assert (runs.folder / "damaged.csv").read_bytes() == expected


def test_answers_of_other_texts_are_never_taken(
    runs: Runs, finished_run: Path, expected: bytes
) -> None:
    assert predict(runs, finished_run, "edited.csv", die_at=20) == KILLED
    texts = runs.folder / "texts.txt"
    before = texts.read_text()
    try:
        texts.write_text(before.replace("text 7, good", "text 7, worse"))
        assert predict(runs, finished_run, "edited.csv") == 0
    finally:
        texts.write_text(before)
    lines, kept = (runs.folder / "edited.csv").read_bytes().splitlines(), expected.splitlines()
    assert b"text 7, worse" in lines[8]
    assert lines[:8] + lines[9:] == kept[:8] + kept[9:]


def test_an_output_that_is_a_pipe_of_words_keeps_nothing(runs: Runs, finished_run: Path) -> None:
    assert runs.run("predict", finished_run, runs.folder / "texts.txt") == 0
    assert list(runs.folder.glob(".*lasttoken-answers")) == []

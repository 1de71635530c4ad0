"""`--tracker`: off unless asked for; hears settings, epochs and final scores; never loses a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import FAST, REVIEWS, Command, check_refused


@pytest.fixture
def broken_tracker() -> Iterator[dict[str, Any]]:
    """A tracker registered with accelerate that fails where it is told to."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

    state: dict[str, Any] = {"fails": "", "calls": []}

    class Broken(GeneralTracker):
        name = "broken"
        requires_logging_directory = False

        def __init__(self, run_name: str) -> None:
            super().__init__()
            self.run_name = run_name

        @property
        def tracker(self) -> None:
            return None

        def _do(self, what: str) -> None:
            state["calls"].append(what)
            if state["fails"] == what:
                raise ConnectionError(f"{what}: the server is gone\nand more")

        def start(self) -> None:
            self._do("start")

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            state["settings"] = values
            self._do("settings")

        def log(self, values: dict[str, Any], step: int | None = None) -> None:
            self._do("log")

        def finish(self) -> None:
            self._do("finish")

    LOGGER_TYPE_TO_CLASS["broken"] = Broken
    yield state
    del LOGGER_TYPE_TO_CLASS["broken"]


def test_an_unknown_tracker_is_refused_by_name_before_training(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path
) -> None:
    outcome = lasttoken("train", reviews, "--model", tiny_gpt2, "--tracker", "tensorbored")
    check_refused(
        outcome, found="--tracker tensorbored: no such tracker", expected="one of aim, ",
        remedy="--tracker tensorboard, or none",
    )  # fmt: skip
    assert "column" not in outcome.err  # the data was not even read


def test_a_tracker_that_is_not_installed_is_refused_by_name(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path
) -> None:
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    there = {str(each) for each in get_available_trackers()}
    missing = sorted(str(each) for each in LoggerType if str(each) not in {*there, "all"})
    assert missing
    for name in missing:
        check_refused(
            lasttoken("train", reviews, "--model", tiny_gpt2, "--tracker", name),
            found=f"--tracker {name}: not installed",
            expected="an installed one: tensorboard",
            remedy=f"pip install {name.replace('_', '-')}",
        )


def test_a_search_has_no_tracker(lasttoken: Command, reviews: Path) -> None:
    check_refused(
        lasttoken("tune", reviews, "--tracker", "tensorboard"), found="tune --tracker tensorboard",
        expected="no tracker", remedy="leave --tracker out",
    )  # fmt: skip


def test_tensorboard_shows_the_epochs_of_the_history_and_the_scores_of_the_test(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, without_plots: None
) -> None:
    outcome = lasttoken(
        "train", reviews, "--model", tiny_gpt2, "--output-dir", "run", *FAST, "--num-epochs", "2",
        "--tracker", "tensorboard", "--explain", "none",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "warning: tracker" not in outcome.err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(Path("run/tracker/run"))).Reload()
    history = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
    for name in ("train_loss", "validation_loss", "validation_macro_f1", "learning_rate"):
        drawn = [(each.step, each.value) for each in shown.Scalars(name)]
        assert [step for step, _ in drawn] == [row["step"] for row in history]
        assert [value for _, value in drawn] == pytest.approx([row[name] for row in history])
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert shown.Scalars("test_accuracy")[0].value == pytest.approx(metrics["test"]["accuracy"])
    files = [path for path in Path("run/tracker").rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files)
    assert b"learning_rate" in written  # the settings
    assert not any(text.encode() in written for text, _ in REVIEWS)
    record = json.loads(Path("run/run.json").read_text())
    assert "tracker" not in record["settings"]  # it does not decide the result
    again = lasttoken("train", reviews, "--model", tiny_gpt2, "--output-dir", "run", *FAST,
                      "--num-epochs", "2", "--explain", "none")  # fmt: skip
    assert again.code == 0
    assert "holds this very run, finished" in again.out


def test_without_the_flag_there_is_no_tracker(finished_run: Path) -> None:
    assert not (finished_run / "tracker").exists()


def test_a_tracker_that_does_not_start_is_told_before_training(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, broken_tracker: dict[str, Any]
) -> None:
    broken_tracker["fails"] = "start"
    outcome = lasttoken(
        "train", reviews, "--model", tiny_gpt2, "--output-dir", "run", *FAST, "--tracker", "broken"
    )
    assert outcome.code == 2
    assert outcome.err.splitlines()[-3:] == [
        "error: --tracker broken: start: the server is gone",
        "expected: a tracker that starts: logged in, its server there, room to write",
        "try: mend that, as broken tells; or leave --tracker out",
    ]
    assert "epoch" not in outcome.out


def test_a_tracker_that_fails_on_the_way_is_told_once_and_the_run_is_kept(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, broken_tracker: dict[str, Any],
    without_plots: None,
) -> None:  # fmt: skip
    broken_tracker["fails"] = "log"
    outcome = lasttoken(
        "train", reviews, "--model", tiny_gpt2, "--output-dir", "run", *FAST, "--num-epochs", "2",
        "--tracker", "broken", "--explain", "none",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    told = "warning: tracker broken: log: the server is gone; it hears no more"
    assert outcome.err.splitlines().count(told) == 1
    assert broken_tracker["calls"] == ["start", "settings", "log"]
    assert broken_tracker["settings"]["num_epochs"] == 2
    assert told.removeprefix("warning: ") in Path("run/metrics.json").read_text()


def test_a_tracker_is_finished_at_the_end(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, broken_tracker: dict[str, Any],
    without_plots: None,
) -> None:  # fmt: skip
    outcome = lasttoken(
        "train", reviews, "--model", tiny_gpt2, "--output-dir", "run", *FAST, "--tracker",
        "broken", "--explain", "none",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert broken_tracker["calls"] == ["start", "settings", "log", "log", "finish"]


def test_scores_of_a_run_that_goes_on_behind_its_last_step_stand_at_that_step() -> None:
    from lasttoken.events import Event, Resumed
    from lasttoken.training.tracking import Tracking

    heard: list[tuple[dict[str, float], int]] = []
    passed: list[Event] = []

    class Heard:
        def log(self, values: dict[str, float], step: int) -> None:
            heard.append((values, step))

    tracking = Tracking(passed.append, "heard", Heard())
    event = Resumed("epoch-2-step-8", 8, 8, ())
    tracking(event)
    tracking.log({"test_accuracy": 0.9, "labels": ["pos"], "is_kept": True})
    assert heard == [({"test_accuracy": 0.9}, 8)]
    assert passed == [event]


def drawn(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder / "run" / "tracker" / "run")).Reload()
    return [(each.step, each.value) for each in shown.Scalars(name)]


@pytest.mark.slow
def test_two_processes_tell_the_tracker_what_one_does(tmp_path: Path) -> None:
    from test_several_processes import check_alike, train

    from families import save_decoder

    model = save_decoder(tmp_path / "dry", resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0)
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders, start=1):
        outcome = train(folder, model, number, "--tracker", "tensorboard")
        assert outcome.returncode == 0, outcome.stderr
    check_alike(*folders)
    losses = [drawn(folder, "validation_loss") for folder in folders]
    assert [step for step, _ in losses[0]] == [step for step, _ in losses[1]] == [4, 8]
    assert [loss for _, loss in losses[1]] == pytest.approx([loss for _, loss in losses[0]], 1e-5)


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_what_the_tracker_has_heard(tmp_path: Path) -> None:
    from test_several_processes import history, train

    from families import save_decoder

    model = save_decoder(tmp_path / "model")
    folder = tmp_path / "parts"
    more = ("--tracker", "tensorboard")
    assert train(folder, model, 1, *more, stop_behind=6).returncode != 0  # in the second epoch
    outcome = train(folder, model, 1, *more)
    assert outcome.returncode == 0, outcome.stderr
    assert "-step-6: 6 of 8 steps" in outcome.stderr
    assert [step for step, _ in drawn(folder, "validation_loss")] == [4, 8]
    assert [row["step"] for row in history(folder)] == [4, 8]

"""A run repeated from its folder: the same bytes of weights, or a plain word on why not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import FAST, REVIEWS, Command, Outcome, hash_folder, write_reviews
from lasttoken.config import RerunConfig
from lasttoken.errors import RunError, StoppedError
from lasttoken.events import EpochEnd, Event
from lasttoken.runs.recorded import recorded_config, weights_files_sha256
from lasttoken.runs.rerun import plan_rerun, run_rerun

pytestmark = pytest.mark.usefixtures("without_plots")

RUN = Path("run")
AGAIN = Path("run-rerun")
WEIGHTS = Path("model", "model.safetensors")


@pytest.fixture
def train(lasttoken: Command, tiny_gpt2: Path, tmp_path: Path) -> Callable[..., None]:
    """Train into `run`, on data and with a model that a test may change."""
    shutil.copytree(tiny_gpt2, tmp_path / "tiny")
    write_reviews(tmp_path / "reviews.csv")

    def run(*words: object) -> None:
        outcome = lasttoken(
            "train", "reviews.csv", "--model", "tiny", "--output-dir", RUN, *FAST, *words
        )
        assert outcome.code == 0, outcome.err

    return run


@pytest.fixture
def run(lasttoken: Command, finished_run: Path, tiny_gpt2: Path) -> None:
    """Bring a copy of the finished run to `run`, with data and model that a test may change."""
    del lasttoken  # which goes to the folder of the test
    shutil.copytree(tiny_gpt2, "tiny")
    shutil.copytree(finished_run, RUN)
    write_reviews(Path("reviews.csv"))

    def move(record: dict[str, Any]) -> None:
        record["data_location"] = str(Path("reviews.csv").absolute())
        record["model_location"] = str(Path("tiny").absolute())

    change_record(RUN, move)


def change_record(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((run / "run.json").read_text())
    change(record)
    (run / "run.json").write_text(json.dumps(record))


def change_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1}, path, {"format": "pt"})


def record_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text()))


def check_identical(outcome: Outcome, run: Path, again: Path) -> None:
    assert outcome.code == 0, outcome.err
    digest = weights_files_sha256(run)["model.safetensors"]
    assert outcome.out.splitlines()[-1] == f"identical to {run / WEIGHTS}: sha256 {digest}"
    assert (again / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()


def check_refused(outcome: Outcome, found: str, expected: str, remedy: str) -> None:
    """Check the exit code and the three lines, and that nothing was written."""
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    assert outcome.err.splitlines()[-3:] == [
        f"error: {found}", f"expected: {expected}", f"try: {remedy}"
    ]  # fmt: skip
    assert not AGAIN.exists()


def check_not_repeatable(outcome: Outcome, reason: str) -> None:
    check_refused(
        outcome,
        f"{RUN} cannot be repeated: {reason}",
        "its data, model and device as they were",
        "bring them back; to train on what is there now: lasttoken train",
    )


# ---- the same weights ----


@pytest.mark.parametrize(
    "words",
    [
        ("--num-epochs", "3", "--batch-size", "8", "--learning-rate", "3e-3"),  # dropout is on
        ("--trainable", "last-1", "--num-epochs", "2", "--batch-size", "8"),
        ("--trainable", "probe"),
        ("--trainable", "probe", "--depth", "auto"),
        ("--depth", "1", "--precision", "auto", "--limit", "20"),
        ("--checkpoint-minutes", "0", "--template", "review: {text}", "--fix-text"),
        ("--long", "windows", "--max-length", "16", "--num-epochs", "1"),
    ],
    ids=" ".join,
)
def test_a_run_is_repeated_byte_for_byte_and_left_alone(
    lasttoken: Command, train: Callable[..., None], words: tuple[str, ...]
) -> None:
    train(*words)
    assert json.loads((RUN / "model" / "config.json").read_text())["resid_pdrop"] > 0
    before = hash_folder(RUN)
    check_identical(lasttoken("rerun", RUN), RUN, AGAIN)
    assert hash_folder(RUN) == before
    old, new = record_of(RUN), record_of(AGAIN)
    assert old["data"] == new["data"]
    assert old["resolved"] == new["resolved"]
    assert new["command"] == ["lasttoken", "rerun", "run"]


def test_a_run_is_repeated_from_anywhere_with_every_file_and_a_config_that_is_gone(
    lasttoken: Command, train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dev", "held-out"):
        lines = [f'"{text}, {name}",{label}' for text, label in REVIEWS[:8]]
        Path(f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    Path("run.toml").write_text('validation = "dev.csv"\ntest = "held-out.csv"\n')
    train("--config", "run.toml")
    Path("run.toml").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outcome = lasttoken("rerun", "../run", "--output-dir", "again")
    check_identical(outcome, Path("../run"), Path("again"))
    record = record_of(tmp_path / "run")
    places = {"data": "reviews.csv", "validation": "dev.csv", "test": "held-out.csv",
              "model": "tiny"}  # fmt: skip
    for name, place in places.items():
        assert record["settings"][name] == place
        assert record[f"{name}_location"] == str(tmp_path / place)


def test_fractions_and_names_of_samples_are_recorded_as_they_are(
    train: Callable[..., None],
) -> None:
    Path("0.1").write_text("a file of that name is not what is meant")
    train()
    record = record_of(RUN)
    assert (record["validation_location"], record["test_location"]) == ("0.1", "0.1")


def test_a_rerun_computes_with_as_many_threads_as_the_run(
    lasttoken: Command, train: Callable[..., None]
) -> None:
    threads = torch.get_num_threads()
    others = 1 if threads == 2 else 2
    torch.set_num_threads(others)
    try:
        train()
    finally:
        torch.set_num_threads(threads)
    check_identical(lasttoken("rerun", RUN), RUN, AGAIN)
    assert record_of(AGAIN)["machine"]["threads"] == others
    assert torch.get_num_threads() == threads


def test_a_rerun_that_was_interrupted_goes_on(
    lasttoken: Command, train: Callable[..., None]
) -> None:
    train("--num-epochs", "3", "--batch-size", "8", "--learning-rate", "3e-3")

    def stop_in_the_middle(event: Event) -> None:
        if isinstance(event, EpochEnd) and event.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(StoppedError):
        run_rerun(plan_rerun(RerunConfig(run="run")), command=(), on_event=stop_in_the_middle)
    assert record_of(AGAIN)["status"] == "unfinished"
    outcome = lasttoken("rerun", RUN)
    assert "going on from checkpoint" in outcome.err
    check_identical(outcome, RUN, AGAIN)
    assert len(record_of(AGAIN)["resumed"]) == 1


def test_a_finished_rerun_is_compared_again_and_not_changed(lasttoken: Command, run: None) -> None:
    check_identical(lasttoken("rerun", RUN), RUN, AGAIN)
    before = hash_folder(AGAIN)
    outcome = lasttoken("rerun", RUN)
    assert outcome.out.startswith("run-rerun holds this very run, finished; nothing was changed")
    check_identical(outcome, RUN, AGAIN)
    assert hash_folder(AGAIN) == before


def test_a_record_without_locations_is_read_by_its_settings(lasttoken: Command, run: None) -> None:

    def make_old(record: dict[str, Any]) -> None:
        for name in ("validation", "test", "model"):
            del record[f"{name}_location"]

    change_record(RUN, make_old)
    check_identical(lasttoken("rerun", RUN), RUN, AGAIN)


def test_what_auto_meant_is_repeated_as_it_was(finished_run: Path) -> None:
    record = record_of(finished_run)
    record["settings"]["precision"] = record["settings"]["device"] = "auto"
    record["resolved"].update(precision="bf16", device="cuda")
    config = recorded_config(finished_run, record)
    assert (config.precision, config.device) == ("bf16", "cuda")


# ---- other weights ----


def test_other_weights_from_the_same_versions_and_machine_are_told_with_exit_code_1(
    lasttoken: Command, run: None
) -> None:
    change_weights(RUN / "model")
    outcome = lasttoken("rerun", RUN)
    assert outcome.code == 1
    was, is_now = (weights_files_sha256(run)["model.safetensors"] for run in (RUN, AGAIN))
    assert outcome.out.splitlines()[-1] == (
        f"different from {RUN / WEIGHTS}: sha256 {was}, now sha256 {is_now}"
    )
    assert outcome.err.splitlines()[-1] == (
        "warning: other weights than those of run; what differs: nothing that is recorded: "
        "versions and machine are equal"
    )


def test_other_versions_are_told_before_training_and_as_the_reason_for_other_weights(
    lasttoken: Command, run: None
) -> None:
    change_record(RUN, lambda record: record["versions"].update(torch="2.0.0"))
    outcome = lasttoken("rerun", RUN)
    told = f"torch 2.0.0, now {torch.__version__}"
    first = f"warning: run was trained with {told}: its weights may differ"
    lines = outcome.err.splitlines()
    assert lines.index(first) < lines.index("train: 32 examples (pos 16, neg 16)")
    check_identical(outcome, RUN, AGAIN)
    change_weights(RUN / "model")
    outcome = lasttoken("rerun", RUN)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        f"warning: other weights than those of run; what differs: {told}"
    )


def test_several_processes_are_told_with_the_command_that_starts_as_many(
    lasttoken: Command, run: None
) -> None:
    change_record(RUN, lambda record: record["machine"].update(processes=2))
    outcome = lasttoken("rerun", RUN)
    assert (
        "warning: run was trained with processes 2, now 1: its weights may differ; started as it "
        "was: torchrun --nproc-per-node 2 -m lasttoken rerun run\n"
    ) in outcome.err


def test_an_interrupted_run_and_a_device_that_rounds_as_it_likes_are_reasons(
    lasttoken: Command, run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_record(RUN, lambda record: record["resumed"].append({"step": 1}))
    outcome = lasttoken("rerun", RUN)
    check_identical(outcome, RUN, AGAIN)
    change_weights(RUN / "model")
    assert lasttoken("rerun", RUN).err.splitlines()[-1].endswith(
        "what differs: the run was interrupted, and may have gone on with other threads"
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_of_two_processes_is_repeated_byte_for_byte_by_two(
    train: Callable[..., None],
) -> None:
    del train  # which brings data and model

    def start(*words: str) -> subprocess.CompletedProcess:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.run(
            [sys.executable, *launcher, "-m", "lasttoken", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )

    words = ("--model", "tiny", "--output-dir", "run", *FAST, "--device", "cpu")
    outcome = start("train", "reviews.csv", *words, "--batch-size", "8")
    assert outcome.returncode == 0, outcome.stderr
    outcome = start("rerun", "run")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("identical to run/model/model.safetensors") == 1
    assert record_of(AGAIN)["machine"]["processes"] == 2


# ---- refused ----


def test_a_folder_that_is_no_run_is_refused(lasttoken: Command, run: None) -> None:
    expected = "a run folder, as lasttoken train leaves it"
    check_refused(lasttoken("rerun", "nowhere"), "nowhere: no such folder", expected,
                  "check the path")  # fmt: skip
    check_refused(lasttoken("rerun", "tiny"), "tiny: no run.json that can be read", expected,
                  "check the path")  # fmt: skip
    check_refused(lasttoken("rerun", "run/model"), "run/model: no run.json that can be read",
                  expected, "did you mean run?")  # fmt: skip


def test_an_unfinished_run_is_refused_with_the_command_that_goes_on(
    lasttoken: Command, run: None
) -> None:
    command = ["lasttoken", "train", "my data.csv", "--overwrite", "--output-dir", "run"]
    change_record(RUN, lambda record: record.update(status="unfinished", command=command))
    check_refused(
        lasttoken("rerun", RUN),
        "run: this run is not finished",
        "a finished run, whose weights can be compared",
        "go on with it: lasttoken train 'my data.csv' --output-dir run",
    )


def test_a_run_without_weights_to_compare_with_is_refused(lasttoken: Command, run: None) -> None:
    (RUN / WEIGHTS).unlink()
    check_refused(
        lasttoken("rerun", RUN),
        "run/model: no weights (*.safetensors)",
        "the model folder of the run, to compare with",
        "bring it back",
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda record: record["settings"].update(magic=1), "'magic', missing or unknown"),
        (lambda record: record.pop("resolved"), "'resolved', missing or unknown"),
        (lambda record: record["settings"].update(num_epochs=0), "--num-epochs 0"),
    ],
    ids=["a setting of a later version", "a part that is not there", "a value out of range"],
)
def test_a_record_of_another_form_is_refused(
    lasttoken: Command, run: None, change: Callable, fault: str
) -> None:
    from lasttoken import __version__

    change_record(RUN, change)
    writer = record_of(RUN)["versions"]["lasttoken"]
    check_refused(
        lasttoken("rerun", RUN),
        f"run/run.json: {fault}",
        f"the record of a run that lasttoken {__version__} understands",
        f"the version of lasttoken that wrote it: {writer}",
    )


@pytest.mark.parametrize("place", ["run", "run/again", ".", "link/again"])
def test_an_output_folder_that_is_in_or_around_the_run_is_refused(
    lasttoken: Command, run: None, place: str
) -> None:
    Path("link").symlink_to("run")
    before = hash_folder(RUN)
    check_refused(
        lasttoken("rerun", RUN, "--output-dir", place, "--overwrite"),
        f"--output-dir {place}: is not apart from run, which is only read",
        "a folder of its own",
        "--output-dir run-rerun, which is the default",
    )
    assert hash_folder(RUN) == before


def test_an_output_folder_with_another_run_is_refused_and_replaced_on_request(
    lasttoken: Command, run: None
) -> None:
    shutil.copytree(RUN, "other")
    outcome = lasttoken("rerun", RUN, "--output-dir", "other")
    check_refused(
        outcome,
        "--output-dir other: holds a run with other settings: data, device, model",
        "a folder that does not exist or is empty",
        "another --output-dir, or --overwrite to replace what an earlier run wrote",
    )
    outcome = lasttoken("rerun", RUN, "--output-dir", "other", "--overwrite")
    check_identical(outcome, RUN, Path("other"))


def test_data_that_has_changed_is_refused_before_training(
    lasttoken: Command, run: None, tmp_path: Path
) -> None:
    data = tmp_path / "reviews.csv"
    data.write_text(data.read_text() + '"one more, at the end",pos\n')
    outcome = lasttoken("rerun", RUN)
    assert "to beat" not in outcome.err
    names = outcome.err.partition("since (")[2].partition("):")[0]
    assert names
    check_not_repeatable(outcome, f"its data has changed since ({names}): {data}")


def test_data_that_can_no_longer_be_read_is_refused(
    lasttoken: Command, run: None, tmp_path: Path
) -> None:
    data = tmp_path / "reviews.csv"
    data.write_text("words\nfine\n")
    check_not_repeatable(
        lasttoken("rerun", RUN), f"{data}: no column is known as the text; the columns are 'words'"
    )
    data.unlink()
    outcome = lasttoken("rerun", RUN)
    assert "loading torch" not in outcome.err  # told at once
    check_not_repeatable(outcome, f"{data}: no such file or folder")


def test_a_model_that_is_gone_or_has_other_weights_is_refused(
    lasttoken: Command, run: None, tmp_path: Path
) -> None:
    change_weights(tmp_path / "tiny")
    check_not_repeatable(
        lasttoken("rerun", RUN),
        f"the weights of its model have changed since: {tmp_path / 'tiny'}",
    )
    shutil.rmtree("tiny")
    outcome = lasttoken("rerun", RUN)
    assert "loading torch" not in outcome.err
    check_not_repeatable(outcome, f"--model {tmp_path / 'tiny'}: no such file or folder")


def test_a_tokenizer_that_reads_otherwise_is_refused(
    lasttoken: Command, run: None, tmp_path: Path
) -> None:
    path = tmp_path / "tiny" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer))
    check_not_repeatable(
        lasttoken("rerun", RUN),
        f"the tokenizer of its model has changed since: {tmp_path / 'tiny'}",
    )


def test_a_device_that_is_not_there_is_refused(lasttoken: Command, run: None) -> None:
    change_record(RUN, lambda record: record["resolved"].update(device="meta:9x"))
    with pytest.raises(RunError, match="run cannot be repeated: --device meta:9x: "):
        run_rerun(plan_rerun(RerunConfig(run="run")), command=(), on_event=lambda event: None)
    assert not AGAIN.exists()

"""The command line as a person meets it: help, quiet, offline, precedence, exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from conftest import FAST, REVIEWS, Command, check_refused, write_reviews
from lasttoken.cli import COMMANDS, main
from lasttoken.cli.arguments import parse
from lasttoken.cli.screen import Screen
from lasttoken.config import EvaluateConfig, TrainConfig
from lasttoken.events import EpochEnd, Note, Progress, TimeLeft

# A process in which no socket can be made and no name looked up: each attempt is written down.
BLOCKER = """
import os, socket

def told(what):
    with open(os.environ["SOCKET_LOG"], "a") as file:
        file.write(f"{what}\\n")
    raise OSError("no network in tests")

class Refused(socket.socket):
    def __new__(cls, *words, **_):
        told(f"socket {words}")

socket.socket = Refused
socket.getaddrinfo = lambda host, *words, **_: told(f"look up {host}")
"""


@pytest.fixture
def process(tmp_path: Path):
    """Run python in an empty folder, without network; returns the process and its attempts."""
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    log = tmp_path / "sockets.log"
    log.touch()
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(blocker), "SOCKET_LOG": str(log)}
    environment.pop("PYTHONWARNINGS", None)

    def run(*words: object):
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=work, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done, log.read_text().splitlines()

    return run


# ---- help ----


def check_answers_at_once(process, words: list[str], expected_code: int) -> str:
    """Check that a command ends within half a second and without torch; returns its messages."""
    code = (
        "import sys; from lasttoken.cli import main; "
        f"code = main({words!r}); "
        "heavy = {'torch', 'transformers', 'numpy', 'sklearn', 'datasets', 'pyarrow', "
        "'matplotlib', 'huggingface_hub'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    seconds = []
    for _ in range(5):  # the machine may be busy with something else
        started = time.perf_counter()
        done, sockets = process("-c", code)
        seconds.append(time.perf_counter() - started)
        assert done.returncode == expected_code, done.stderr
        assert sockets == []
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.5, seconds
    return done.stderr


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_help_answers_in_half_a_second_without_torch(process, words: list[str]) -> None:
    assert check_answers_at_once(process, [*words, "--help"], 0) == ""


def test_an_export_that_is_there_is_told_in_half_a_second_without_torch(
    process, tmp_path: Path
) -> None:
    told = check_answers_at_once(process, ["export", "runs/none"], 2)
    assert told.startswith("error: runs/none: no such folder")
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "exported" / "onnx").mkdir(parents=True)
    (folder / "exported" / "onnx" / "letter.txt").write_text("dear")
    told = check_answers_at_once(process, ["export", str(folder)], 2)
    assert told.startswith(f"error: {folder}/exported/onnx: already there, and no exported model")


@pytest.mark.parametrize("command", ["evaluate", "predict", "doctor"])
def test_a_missing_run_or_file_is_told_in_half_a_second_without_torch(
    process, tmp_path: Path, command: str
) -> None:
    told = check_answers_at_once(process, [command, "runs/none", "texts.csv"], 2)
    assert told.startswith("error: runs/none: no such folder")
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    told = check_answers_at_once(process, [command, str(folder.parent), "./texts.csv"], 2)
    assert told.startswith("error: ./texts.csv: no such file or folder")


def test_the_overview_names_every_command_and_a_first_thing_to_type(lasttoken: Command) -> None:
    for words in ((), ("--help",), ("-h",), ("help",)):
        outcome = lasttoken(*words)
        assert (outcome.code, outcome.err) == (0, "")
        for name in ("train DATA", "evaluate RUN DATA", "predict RUN INPUT"):
            assert f"lasttoken {name}" in outcome.out
        assert "lasttoken train movie-reviews --model smollm2" in outcome.out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_shows_every_setting_with_its_default(
    lasttoken: Command, name: str
) -> None:
    from dataclasses import MISSING, fields

    outcome = lasttoken(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    places = getattr(COMMANDS[name].config_class, "optional_places", ())
    for field in fields(COMMANDS[name].config_class):
        if field.default is MISSING:
            assert f" {field.name.upper()}" in outcome.out
        elif field.name in places:
            assert f" [{field.name.upper()}]" in outcome.out
        else:
            assert f"--{field.name.replace('_', '-')}" in outcome.out
    assert "--config FILE" in outcome.out
    assert "{None}" not in outcome.out


def test_version_is_told(lasttoken: Command) -> None:
    import lasttoken as package

    assert lasttoken("--version").out == f"lasttoken {package.__version__}\n"


# ---- quiet, and offline ----


@pytest.mark.slow
def test_a_clean_run_prints_no_warning_and_opens_no_socket(
    process, tmp_path: Path, tiny_gpt2: Path
) -> None:
    data = write_reviews(tmp_path / "reviews.csv")
    other = tmp_path / "other.csv"  # not what was trained on, which is told
    other.write_text(data.read_text().replace(" film", " play"))
    (tmp_path / "texts.txt").write_text("good\nbad\n")
    commands = [
        ["train", data, "--model", tiny_gpt2, "--output-dir", "run", *FAST],
        ["evaluate", "run", other],
        ["predict", "run", tmp_path / "texts.txt", "--output", "labels.csv"],
    ]
    done, sockets = process(
        "-W", "error", "-c",
        "import sys; from lasttoken.cli import main\n"
        f"sys.exit(max(main(words) for words in {[[str(w) for w in c] for c in commands]!r}))",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sockets == []
    known = "warning: fewer than 10 test examples of: neg, pos; their scores are rough"
    lines = [line for line in done.stderr.splitlines() if line != known]
    assert not [line for line in lines if "warning" in line.lower()]
    assert not [line for line in lines if "%|" in line or "it/s" in line or "\r" in line]
    assert "" not in lines, "no empty line, not even the last one"
    always = [
        line for line in lines if ", took " not in line
    ]  # slow parts are told on a slow machine
    assert len(always) <= 20, done.stderr
    assert not any("[" in line for line in done.stderr.splitlines() if "transformers" in line)


def test_python_m_lasttoken_is_lasttoken(process) -> None:
    done, _ = process("-m", "lasttoken", "--version")
    assert done.stdout.startswith("lasttoken ")
    done, _ = process("-m", "lasttoken", "trian")
    assert done.returncode == 2
    assert done.stderr == (
        "error: no command 'trian'\n"
        f"expected: one of {', '.join(COMMANDS)}\n"
        "try: lasttoken --help\n"
    )


def write_acl_imdb(root: Path) -> Path:
    for number, (text, label) in enumerate(REVIEWS):
        for split in ("train", "test"):
            folder = root / split / label
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}_7.txt").write_text(f"{text}, {split}")
    return root


def test_without_a_hub_a_model_of_the_hub_is_refused_within_five_seconds(
    process, tmp_path: Path
) -> None:
    write_acl_imdb(tmp_path / "some" / "aclImdb")
    started = time.perf_counter()
    done, sockets = process("-m", "lasttoken", "train", "../some/aclImdb", "--model", "gpt2")
    assert time.perf_counter() - started < 5
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: model 'gpt2': no such local folder, not in the local cache, and the Hub cannot be "
        "reached (no network in tests)\n"
        "expected: a connection, or a copy: run `hf download gpt2 --local-dir gpt2` where there is "
        "one, bring the folder here, and pass its path to --model\n"
        "try: --model smollm2, which works right now\n"
    )
    assert len(sockets) == 1, "asked once, not again"
    assert not (tmp_path / "work" / "runs").exists()


def test_a_hub_that_never_answers_is_given_up_within_five_seconds(
    lasttoken: Command, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **_: time.sleep(8))
    started = time.perf_counter()
    outcome = lasttoken("train", reviews, "--model", "gpt2")
    assert time.perf_counter() - started < 5
    check_refused(
        outcome,
        found="model 'gpt2': no such local folder, not in the local cache, and the Hub cannot be "
        "reached (no answer within 3 s)",
        expected="a connection, or a copy: run `hf download gpt2 --local-dir gpt2`",
        remedy="--model smollm2",
    )


def test_offline_mode_of_the_hub_is_respected(
    lasttoken: Command, reviews: Path, monkeypatch: pytest.MonkeyPatch, opened_sockets: list[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    check_refused(
        lasttoken("train", reviews, "--model", "gpt2"),
        found="model 'gpt2': no such local folder, not in the local cache, and the Hub cannot be "
        "reached (HF_HUB_OFFLINE is set)",
        expected="a connection, or a copy",
        remedy="--model smollm2",
    )
    assert opened_sockets == []


def test_an_answer_of_several_lines_still_makes_three(
    lasttoken: Command, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick() -> None:
        raise OSError("502 Bad Gateway\nFor more information ask your proxy")

    monkeypatch.setattr("huggingface_hub.get_session", sick)
    outcome = lasttoken("train", reviews, "--model", "gpt2")
    assert "cannot be reached (502 Bad Gateway)" in outcome.err
    assert len(outcome.err.splitlines()) == 3


def test_a_mistyped_data_path_is_told_before_a_missing_model(
    lasttoken: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened_sockets: list[str]
) -> None:
    write_acl_imdb(tmp_path / "some" / "aclImdb")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    check_refused(
        lasttoken("train", "../some/aclImbd", "--model", "gpt2"),
        found="../some/aclImbd: no such file or folder",
        expected="a path that exists",
        remedy="did you mean ../some/aclImdb?",
    )
    assert opened_sockets == []
    check_refused(
        lasttoken("train", "aclImdb", "--model", "gpt2"),
        found="aclImdb: no such file or folder, and the Hub cannot be reached",
        expected="a local path, or a Hub data set that is cached or reachable",
        remedy="movie-reviews (the sample), or a local file such as reviews.csv",
    )


def test_a_local_folder_trains_and_predicts_without_a_socket(
    lasttoken: Command, tmp_path: Path, tiny_gpt2: Path, opened_sockets: list[str],
    without_plots: None,
) -> None:  # fmt: skip
    data = write_acl_imdb(tmp_path / "some" / "aclImdb")
    (tmp_path / "gpt2").symlink_to(tiny_gpt2)  # as `hf download --local-dir gpt2` leaves it
    outcome = lasttoken("train", data, "--model", "gpt2", *FAST)
    assert outcome.code == 0, outcome.err
    (tmp_path / "in.txt").write_text("good")
    assert lasttoken("predict", "runs/aclImdb-gpt2", "in.txt").code == 0
    assert opened_sockets == []


def test_bars_of_transformers_are_silent_while_it_loads_and_back_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from transformers import modeling_gguf_pytorch_utils as gguf_reader
    from transformers.utils import logging as transformers_logging

    from lasttoken.model.quiet import quiet_transformers

    before = gguf_reader.tqdm
    with quiet_transformers():
        assert list(gguf_reader.tqdm([1, 2], desc="Converting")) == [1, 2]
        assert list(transformers_logging.tqdm([1, 2], desc="Loading")) == [1, 2]
    assert capfd.readouterr() == ("", "")
    assert gguf_reader.tqdm is before
    assert transformers_logging.is_progress_bar_enabled()


# ---- settings ----


def test_precedence_is_defaults_then_file_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        "seed = 5\nnum-epochs = 2\nfix_text = true\nskip_bad_rows = false\ntest = 0.2\n"
    )
    words = ["data.csv", "--config", str(file), "--seed", "6"]
    for order in (words, words[1:] + words[:1], [f"--config={file}", "--seed=6", "data.csv"]):
        config = parse(TrainConfig, order, program="lasttoken train")
        assert config is not None
        expected = TrainConfig(data="data.csv", seed=6, num_epochs=2, fix_text=True, test="0.2")
        assert asdict(config) == asdict(expected)


def test_a_file_may_hold_what_stands_without_a_flag(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('run = "a-run"\ndata = "a.csv"\nlimit = 7\n')
    program = "lasttoken evaluate"
    for words, expected in (
        ([], ("a-run", "a.csv")),
        (["other"], ("other", "a.csv")),
        (["other", "b.csv"], ("other", "b.csv")),
        (["--overwrite", "other"], ("other", "a.csv")),
    ):
        config = parse(EvaluateConfig, [*words, "--config", str(file)], program=program)
        assert config is not None
        assert (config.run, config.data, config.limit) == (*expected, 7)


def test_run_json_records_the_resolved_value_of_file_and_flags(
    lasttoken: Command, tiny_gpt2: Path, reviews: Path, tmp_path: Path, without_plots: None
) -> None:
    (tmp_path / "run.toml").write_text(
        f'data = "{reviews}"\nmodel = "{tiny_gpt2}"\nseed = 5\noutput_dir = "mine"\n'
        'num_epochs = 3\nprecision = "fp32"\n'
    )
    outcome = lasttoken("train", "--config", "run.toml", "--num-epochs", "1")
    assert outcome.code == 0, outcome.err
    settings = json.loads((tmp_path / "mine" / "run.json").read_text())["settings"]
    assert (settings["seed"], settings["num_epochs"], settings["max_grad_norm"]) == (5, 1, 1.0)


# ---- exit codes ----


def test_an_interrupt_exits_with_130_and_says_how_to_go_on(
    lasttoken: Command, tiny_gpt2: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch,
    without_plots: None,
) -> None:  # fmt: skip
    def interrupt(*words: object, **_: object) -> None:
        raise KeyboardInterrupt

    command = ("train", reviews, "--model", tiny_gpt2, *FAST)
    with monkeypatch.context() as patch:
        patch.setattr("lasttoken.runs.train.run_baselines", interrupt)
        outcome = lasttoken(*command)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == (
        f"interrupted; to go on from what is saved: lasttoken {' '.join(map(str, command))}"
    )
    assert lasttoken(*command).code == 0


def test_a_bug_of_ours_shows_its_traceback(
    lasttoken: Command, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object, **_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("lasttoken.runs.preflight.locate_inputs", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        lasttoken("train", reviews)


def test_a_reader_that_has_heard_enough_is_no_error(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    (tmp_path / "in.txt").write_text("good\n")
    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert main(["predict", str(finished_run), str(tmp_path / "in.txt")]) == 0


FULL = Path("/dev/full")  # every write to it says that the disk is full
NO_ROOM = ["error: standard output: No space left on device"]
NO_OUTPUT = ["error: standard output: closed"]


def told(redirection: str, *words: object) -> tuple[int, list[str]]:
    """Run a command under a shell that redirects its output; returns exit code and messages."""
    line = " ".join(shlex.quote(str(word)) for word in (sys.executable, "-m", "lasttoken", *words))
    environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["sh", "-c", f"{line} {redirection}"],
        env=environment, stderr=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stderr.splitlines()


def check_three_lines(outcome: tuple[int, list[str]], first: list[str]) -> None:
    code, lines = outcome
    assert code == 2, lines
    assert lines[-3:-2] == first
    assert lines[-2] in (
        "expected: an output that can be written, with room left",
        "expected: a place that can be written, with room left",
    )
    assert lines[-1].startswith("try: ")
    assert not any("Traceback" in line or "Exception" in line for line in lines)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_help_that_cannot_be_printed_is_told_in_three_lines(words: list[str]) -> None:
    check_three_lines(told(f"> {FULL}", *words), NO_ROOM)
    check_three_lines(told(">&-", *words), NO_OUTPUT)
    assert told("| true", *words)[1] == []


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_predictions_that_cannot_be_printed_are_told_in_three_lines(
    finished_run: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "in.txt"
    texts.write_text("good\n")
    check_three_lines(told(f"> {FULL}", "predict", finished_run, texts), NO_ROOM)
    check_three_lines(told(">&-", "predict", finished_run, texts), NO_OUTPUT)
    code, lines = told("| true", "predict", finished_run, texts)
    assert (code, [line for line in lines if "Error" in line or "error" in line]) == (0, [])


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_training_whose_lines_cannot_be_printed_is_finished_and_then_told_in_three_lines(
    tiny_gpt2: Path, reviews: Path, tmp_path: Path
) -> None:
    words = ("train", reviews, "--model", tiny_gpt2, "--output-dir", tmp_path / "run", *FAST)
    check_three_lines(told(">&-", *words), NO_OUTPUT)
    assert not (tmp_path / "run").exists()
    check_three_lines(told(f"> {FULL}", *words), NO_ROOM)
    assert (tmp_path / "run" / "report.html").exists()


# ---- what is shown ----


def show(*events: object, clock: list[float] | None = None) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), Screen() as screen:
        for event in events:
            screen(event)  # type: ignore[arg-type]
            if clock:
                clock.pop(0)
    return out.getvalue(), err.getvalue()


def test_notes_go_to_standard_error_and_epochs_to_standard_output() -> None:
    epoch = EpochEnd(
        epoch=1, step=9, train_loss=0.5, train_accuracy=0.75, validation_loss=0.25,
        validation_accuracy=0.8, validation_macro_f1=0.79, learning_rate=1e-4, seconds=75.2,
        is_kept=True,
    )  # fmt: skip
    out, err = show(
        Note("[bold]a note[/bold]"),
        Note("take care", is_warning=True),
        TimeLeft(7384, 20),
        epoch,
    )
    assert err.splitlines() == [
        "[bold]a note[/bold]",
        "warning: take care",
        "about 2 h 03 min left, measured on 20 steps",
    ]
    assert out == (
        "epoch 1: train loss 0.500, accuracy 0.750; validation loss 0.250, accuracy 0.800, "
        "macro F1 0.790 (kept so far); 1 min 15 s\n"
    )


def test_plain_progress_is_told_now_and_then_and_at_the_end_of_long_phases_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("lasttoken.cli.screen.time.perf_counter", lambda: clock[0])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), Screen() as screen:
        for seconds, event in (
            (0, Progress("read", 0, 10, "rows")),
            (1, Progress("read", 10, 10, "rows")),  # short: not told
            (2, Progress("train", 0, 100, "steps")),
            (7, Progress("train", 25, 100, "steps")),
            (13, Progress("train", 50, 100, "steps", "loss 0.5")),
            (14, Progress("train", 55, 100, "steps")),
            (22, Progress("train", 100, 100, "steps")),
            (22, Progress("train", 100, 100, "steps")),  # told once
            (30, Progress("fetch", 0, None, "bytes")),
            (41, Progress("fetch", 2_000_000, None, "bytes")),
        ):
            clock[0] = float(seconds)
            screen(event)
    assert out.getvalue() == ""
    assert err.getvalue().splitlines() == [
        "train: 50/100 steps, 4.55 steps/s, 11.0 s left, loss 0.5",
        "train: 100/100 steps, 5.00 steps/s, took 20.0 s",
        "fetch: 2.0 MB, 181.8 kB/s",
    ]


def test_a_terminal_shows_bars_and_takes_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setattr(
        "lasttoken.cli.screen.Console",
        lambda **words: Console(**{**words, "force_terminal": True, "width": 100}),
    )
    _, err = show(Progress("train", 0, 4, "steps"), Progress("train", 2, 4, "steps"), Note("ready"),
                  Progress("train", 4, 4, "steps"))  # fmt: skip
    assert "train" in err
    assert "ready\n" in err


def test_control_characters_of_the_data_are_spelled_out(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, without_plots: None
) -> None:
    data = tmp_path / "colors.csv"
    rows = [f"film {n},\x1b[31mred\x07\nbook {n},plain\n" for n in range(20)]
    data.write_text("text,label\n" + "".join(rows))
    outcome = lasttoken("train", data, "--model", tiny_gpt2, "--output-dir", "run", *FAST)
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.out + outcome.err
    assert r"\x1b[31mred\x07 16" in outcome.err

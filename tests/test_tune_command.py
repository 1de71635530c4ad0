"""`lasttoken tune`: what it leaves, that the test split stays unseen, and that it can be killed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from killing import KILLED, Runs

from conftest import Command, check_refused, hash_folder, write_reviews
from lasttoken.cli import main
from lasttoken.cli.arguments import parse
from lasttoken.config import TrainConfig, TuneConfig
from lasttoken.runs.examples import read_examples

# Twelve trials of the tiny model are all there are, so the clock decides nothing.
SMALL = ("--search", "depth,trainable", "--num-epochs", "2", "--max-length", "32",
         "--precision", "fp32", "--batch-size", "8", "--minutes", "5")  # fmt: skip


class Searched(NamedTuple):
    """A finished search, for reading only, and what it printed."""

    folder: Path
    data: Path
    out: str
    err: str
    read: list[str]


def trials_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def tried(folder: Path) -> list[tuple[Any, ...]]:
    """Return what must not depend on deaths and clocks."""
    rows = [row for row in trials_of(folder) if row["state"] != "lost"]
    return [(row["settings"], row["state"], row["scores"]) for row in rows]


@pytest.fixture(scope="module")
def searched(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    from lasttoken.training import preparation

    folder = tmp_path_factory.mktemp("searched")
    data = write_reviews(folder / "reviews.csv")
    read: list[str] = []
    real = preparation.tokenize

    def tokenize(tokenizer: Any, texts: list[str], reading: Any, **options: Any) -> Any:
        read.extend(texts)
        return real(tokenizer, texts, reading, **options)

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.setattr(preparation, "tokenize", tokenize)
        with redirect_stderr(StringIO()) as err:
            code = main(
                ["tune", str(data), "--model", str(tiny_gpt2), "--output-dir",
                 str(folder / "search"), *SMALL]
            )  # fmt: skip
    assert code == 0, err.getvalue()
    return Searched(folder / "search", data, out.getvalue(), err.getvalue(), read)


def test_every_trial_is_printed_and_recorded(searched: Searched) -> None:
    rows = trials_of(searched.folder)
    lines = [line for line in searched.out.splitlines() if line.startswith("trial ")]
    assert (
        len(rows) == len(lines) == 12
    )  # depth: all, auto, 1; trainable: full, last-1, lora, probe
    for row, line in zip(rows, lines):
        assert line.startswith(f"trial {row['number']}: macro F1 by epoch ")
        assert f"depth {row['settings']['depth'] or 'all'}" in line
        assert f"trainable {row['settings']['trainable']}" in line
        assert all(f"{score:.3f}" in line for score in row["scores"])
        assert re.search(r"; \d+\.\d s", line)
    assert rows[0]["settings"] == {"depth": "all", "trainable": "full"}
    assert rows[1]["settings"] == {"depth": "auto", "trainable": "probe"}
    assert searched.err.count(" begins: ") == 12
    names = {path.name for path in searched.folder.iterdir()}
    assert names == {"run.json", "journal.log", "trials.jsonl", "best.toml", ".lock"}


def test_the_best_is_never_worse_than_the_settings_given(searched: Searched) -> None:
    rows = trials_of(searched.folder)
    best = max(rows, key=lambda row: row["score"])
    assert best["score"] >= rows[0]["score"]
    assert f"best      trial {best['number']}: macro F1 {best['score']:.3f}" in searched.out
    assert "the best of 12 on 4 validation examples" in searched.out


def test_the_command_that_is_printed_trains_to_the_score_that_was_found(
    searched: Searched, lasttoken: Command, without_plots: None
) -> None:
    words = shlex.split(searched.out.splitlines()[-1].removeprefix("train "))
    assert words[:3] == ["lasttoken", "train", str(searched.data)]
    outcome = lasttoken(*words[1:], "--output-dir", "run")
    assert outcome.code == 0, outcome.err
    best = max(trials_of(searched.folder), key=lambda row: row["score"])
    history = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
    assert [row["validation_macro_f1"] for row in history] == best["scores"]
    record = json.loads(Path("run/run.json").read_text())
    settings = record["settings"]
    assert {name: settings[name] for name in best["settings"]} == best["settings"]
    assert (settings["batch_size"], settings["max_length"]) == (8, 32)
    # The same examples are set aside for the test, so it is still unseen.
    search = json.loads((searched.folder / "run.json").read_text())
    for split in ("train", "validation", "test"):
        assert record["data"][split]["fingerprint"] == search["data"][split]["fingerprint"]


def test_the_test_texts_never_reach_the_tokenizer(searched: Searched) -> None:
    splits = read_examples(TrainConfig(data=str(searched.data))).splits
    assert set(searched.read) == {example.text for example in splits.train + splits.validation}
    assert not set(searched.read) & {example.text for example in splits.test}
    assert len(splits.test) == 4
    assert "test: 4 examples are set aside; no trial reads them" in searched.err


@pytest.mark.slow
def test_another_test_split_changes_no_trial(
    searched: Searched, lasttoken: Command, tiny_gpt2: Path, tmp_path: Path
) -> None:
    tests = []
    for word in ("lovely", "tedious"):
        path = tmp_path / f"{word}.csv"
        path.write_text("text,label\n" + "".join(f"{word} {n},pos\n" for n in range(5)))
        words = ("--model", tiny_gpt2, *SMALL, "--test", path, "--search", "trainable")
        assert lasttoken("tune", searched.data, *words, "--output-dir", word).code == 0
        tests.append(tried(Path(word)))
    assert tests[0] == tests[1]


def test_a_finished_search_prints_its_result_and_changes_no_byte(
    searched: Searched, lasttoken: Command, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(searched.folder, tmp_path / "search")
    before = hash_folder(folder)
    words = ("tune", searched.data, "--model", tiny_gpt2, "--output-dir", folder, *SMALL)
    outcome = lasttoken(*words)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"{folder} holds this very search, finished")
    assert hash_folder(folder) == before
    more = lasttoken(*words, "--minutes", "6")  # there is nothing left that is new
    assert more.code == 0, more.err
    assert "known already or too long" in more.err
    assert tried(folder) == tried(searched.folder)


def test_a_search_on_other_data_is_refused(
    searched: Searched, lasttoken: Command, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(searched.folder, tmp_path / "search")
    data = Path(shutil.copy(searched.data, tmp_path / "reviews.csv"))
    words = ("--model", tiny_gpt2, "--output-dir", folder, *SMALL)
    outcome = lasttoken("tune", data, *words)
    found = f"--output-dir {folder}: holds a run with other settings: data"
    check_refused(outcome, found=found, expected="a folder that", remedy="another --output-dir")
    text = searched.data.read_text()
    try:
        searched.data.write_text(text.replace("number 3", "number three"))
        outcome = lasttoken("tune", searched.data, *words)
    finally:
        searched.data.write_text(text)
    found = f"--output-dir {folder}: holds this run on other data"
    check_refused(outcome, found=found, expected="the data of", remedy="another --output-dir")


class Killable(NamedTuple):
    """A search of three trials, 8 batches each, that dies when it is told to."""

    runs: Runs
    words: tuple[object, ...]
    expected: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def killable(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killable]:
    folder = tmp_path_factory.mktemp("killed")
    data = write_reviews(folder / "reviews.csv")
    words = ("tune", data, "--model", tiny_gpt2, *SMALL, "--search", "depth")
    with Runs(folder) as runs:
        assert runs.run(*words, "--output-dir", "undisturbed") == 0, runs.printed()
        yield Killable(runs, words, tried(folder / "undisturbed"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "batch", [pytest.param(n, marks=() if n == 13 else pytest.mark.slow) for n in (1, 8, 13, 24)]
)
def test_a_search_that_is_killed_amid_a_trial_goes_on_with_the_same_trials(
    killable: Killable, batch: int
) -> None:
    runs, words = killable.runs, (*killable.words, "--output-dir", f"killed-at-{batch}")
    folder = runs.folder / f"killed-at-{batch}"
    assert runs.run(*words, stop_at_batch=batch, by=signal.SIGKILL) == KILLED
    runs.printed()
    assert runs.run(*words) == 0
    assert len(re.findall(r"warning: trial \d+ was lost", runs.printed())) == 1
    assert [row["state"] for row in trials_of(folder)].count("lost") == 1
    assert tried(folder) == killable.expected
    assert (folder / "best.toml").read_text().splitlines()[1:] == (
        runs.folder / "undisturbed" / "best.toml"
    ).read_text().splitlines()[1:]


def test_ctrl_c_says_how_to_go_on_and_keeps_the_trials(killable: Killable) -> None:
    runs, words = killable.runs, (*killable.words, "--output-dir", "stopped")
    code = runs.run(*words, stop_at_batch=10, by=signal.SIGINT)
    assert code == 130
    last_line = runs.printed().splitlines()[-1]
    assert last_line.startswith("interrupted; to go on from what is saved: lasttoken tune")
    kept = tried(runs.folder / "stopped")
    assert kept == killable.expected[:1]
    assert (runs.folder / "stopped" / "best.toml").exists()


def test_best_toml_gives_back_every_setting(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path
) -> None:
    """Whatever a text may hold: quotes, line ends, signs beyond ASCII, control characters."""
    template = 'a "quoted" \\ prompt\n\t\x7f\x01 ünï 😀: {text}'
    words = ("--model", tiny_gpt2, "--template", template, "--search", "depth",
             "--trainable", "probe", "--validation", "0.25", "--seed", "7")  # fmt: skip
    assert lasttoken("tune", reviews, *words, "--output-dir", "search").code == 0
    config = parse(TrainConfig, [str(reviews), "--config", "search/best.toml"], program="lasttoken")
    depth = max(trials_of(Path("search")), key=lambda row: row["score"])["settings"]["depth"]
    assert config == TrainConfig(
        data=str(reviews), model=str(tiny_gpt2), template=template, trainable="probe", depth=depth,
        validation="0.25", seed=7,
    )  # fmt: skip


def test_every_setting_of_training_can_be_given(tmp_path: Path) -> None:
    words = ["data.csv", "--learning-rate", "1e-4", "--text-column", "t", "--minutes", "1"]
    config = parse(TuneConfig, words, program="lasttoken tune")
    assert config == TuneConfig(data="data.csv", learning_rate=1e-4, text_column="t", minutes=1)


@pytest.mark.parametrize(
    ("words", "found", "expected", "remedy"),
    [
        (("--minutes", "0"), "--minutes 0", "--minutes a number above 0", "give another value"),
        (("--search", "batch-sise"), "--search batch-sise: cannot search 'batch_sise'",
         "some of learning_rate, num_epochs", "did you mean 'batch_size'?"),
        (("--learning-rate", "-1"), "--learning-rate -1", "--learning-rate a number above 0",
         "give another value"),
        (("--depth", "9"), "--depth 9: model", "1 to 2, all, or auto", "--depth auto"),
        (("--minutes", "1e-9"), "no trial came to the end of an epoch in 1e-09 minutes",
         "time for the settings given", "--minutes 2e-09"),
    ],
    ids=["minutes", "search", "range", "depth", "no-time"],
)  # fmt: skip
def test_bad_settings_are_refused_in_three_lines(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, words: tuple[str, ...], found: str,
    expected: str, remedy: str,
) -> None:  # fmt: skip
    outcome = lasttoken("tune", reviews, "--model", tiny_gpt2, *words, "--output-dir", "search")
    check_refused(outcome, found=found, expected=expected, remedy=remedy)


def test_training_and_search_never_take_each_others_folder(
    searched: Searched, run_copy: Path, lasttoken: Command, tiny_gpt2: Path
) -> None:
    model = ("--model", tiny_gpt2)
    into_search = lasttoken(
        "train", searched.data, *model, *SMALL[2:-2], "--output-dir", searched.folder
    )
    check_refused(
        into_search,
        found=f"--output-dir {searched.folder}: holds a run with other settings: search, tune",
        expected="a folder that does not exist",
        remedy="another --output-dir",
    )
    into_run = lasttoken("tune", searched.data, *model, "--output-dir", run_copy)
    assert into_run.code == 2
    assert "tune" in into_run.err.splitlines()[-3]


def test_a_journal_that_was_overwritten_is_refused_by_name(
    searched: Searched, lasttoken: Command, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(searched.folder, tmp_path / "search")
    (folder / "journal.log").write_bytes(b"no journal\nat all\n")
    words = ("tune", searched.data, "--model", tiny_gpt2, "--output-dir", folder, *SMALL)
    check_refused(
        lasttoken(*words, "--minutes", "9"),
        found=f"{folder / 'journal.log'}: not the journal of a search",
        expected="the file as lasttoken tune left it",
        remedy="bring it back, or --overwrite",
    )
    assert lasttoken(*words, "--search", "depth", "--overwrite").code == 0
    assert trials_of(folder)[0]["settings"] == {"depth": "all"}
    assert len(trials_of(folder)) == 3


def test_several_processes_are_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    outcome = lasttoken("tune", reviews, "--model", tiny_gpt2)
    check_refused(
        outcome,
        found="tune in 2 processes",
        expected="one process",
        remedy="the same command without torchrun",
    )

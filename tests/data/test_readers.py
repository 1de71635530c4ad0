"""Labeled data from files, folders, samples and the Hub."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import pytest

from lasttoken.data import hub, movie_reviews
from lasttoken.data.columns import choose_columns
from lasttoken.data.dataset import Example, MovieReviewsDataset
from lasttoken.data.readers import locate_data, read_labeled
from lasttoken.errors import DatasetError
from lasttoken.events import Note, Progress


def notes(events: list[Any]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return root


def test_a_table_becomes_examples_that_keep_file_row_and_extra_columns(tmp_path: Path) -> None:
    path = tmp_path / "spam mail.csv"
    path.write_text("id,text,label\n7,NA,null\n8,,x\n")
    data = read_labeled(str(path))
    assert (data.name, data.text_column, data.label_column) == ("spam mail", "text", "label")
    assert data.splits == {
        "train": (
            Example("NA", "null", str(path), 1, {"id": "7"}),
            Example("", "x", str(path), 2, {"id": "8"}),
        )
    }


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"text": null, "label": "x"}', "row 2, column 'text': no value"),
        ('{"text": "a"}', "row 2, column 'label': no value"),
        ('{"text": "a", "label": ""}', "row 2, column 'label': the label is empty"),
    ],
)
def test_unusable_rows_are_named_or_skipped(tmp_path: Path, line: str, found: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"text": "a", "label": "x"}}\n{line}\n')
    with pytest.raises(DatasetError, match=found) as caught:
        read_labeled(str(path))
    assert "--skip-bad-rows" in caught.value.remedy
    events: list[Any] = []
    data = read_labeled(str(path), skip_bad_rows=True, on_event=events.append)
    assert len(data.splits["train"]) == 1
    assert any("1 bad row skipped" in note and found in note for note in notes(events))


def test_a_tree_of_texts_is_read_in_order_without_its_unlabeled_folder(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "aclImdb",
        {
            "README": "",
            "train/pos/2.txt": "good\n",
            "train/pos/10.txt": "fine\r\n",
            "train/neg/1.txt": "\ufeffbad\n\n",
            "train/unsup/1.txt": "?",
            "train/urls_pos.txt": "http://",
            "test/pos/1.txt": "",
        },
    )
    events: list[Any] = []
    data = read_labeled(str(root), on_event=events.append)
    shown = {
        split: [(example.text, example.label) for example in examples]
        for split, examples in data.splits.items()
    }
    assert shown == {
        "train": [("bad\n", "neg"), ("fine", "pos"), ("good", "pos")],
        "test": [("", "pos")],
    }
    assert data.name == "aclImdb"
    assert data.text_column is None
    assert any("1 texts in train/unsup have no label: left out" in note for note in notes(events))
    assert [event for event in events if isinstance(event, Progress)][-1].done == 5


def test_a_folder_a_label_is_one_unsplit_source(tmp_path: Path) -> None:
    tree(tmp_path, {"b/1.txt": "x", "a/1.txt": "y"})
    splits = read_labeled(str(tmp_path)).splits
    assert {split: [e.label for e in examples] for split, examples in splits.items()} == {
        "train": ["a", "b"]
    }


def test_a_folder_of_tables_gives_its_splits(tmp_path: Path) -> None:
    rows = "review,stars\nfine,5\n"
    tree(tmp_path, {"train.csv": rows, "dev.tsv": rows.replace(",", "\t"), "test.csv": rows})
    data = read_labeled(str(tmp_path))
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.text_column == "review"
    (tmp_path / "test.csv").write_text("review,star\nfine,5\n")
    with pytest.raises(DatasetError, match="no column 'stars'") as caught:
        read_labeled(str(tmp_path))
    assert "did you mean --label-column star?" in caught.value.remedy


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"reviews.csv": "a"}, "a folder with reviews.csv, but no train"),
        ({"val.csv": "a", "dev.csv": "a"}, "two validation files: dev.csv and val.csv"),
        ({"README.txt": "a"}, r"no .txt files in subfolders \(it holds README.txt\)"),
    ],
)
def test_folders_of_another_shape_are_told(
    tmp_path: Path, files: dict[str, str], found: str
) -> None:
    with pytest.raises(DatasetError, match=found):
        read_labeled(str(tree(tmp_path, files)))


def test_a_text_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tree(tmp_path, {"a/1.txt": "x", "b/1.txt": ""}) / "b" / "1.txt"
    path.write_bytes("clich\u00e9".encode("cp1252"))
    with pytest.raises(DatasetError, match=r"b.1\.txt: byte 0xe9 at byte 5 \(line 1\)"):
        read_labeled(str(tmp_path))
    assert read_labeled(str(tmp_path), encoding="cp1252").splits["train"][1].text == "clich\u00e9"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["label", "text"], ("text", "label")),
        (["Title", " Text", "CLASS"], (" Text", "CLASS")),
        (["sentiment", "phrase"], ("phrase", "sentiment")),
        (["review", "verdict"], ("review", "verdict")),
        (["a", "b"], ("b", "a")),
    ],
)
def test_columns_are_guessed(columns: list[str], expected: tuple[str, str]) -> None:
    rows = [{name: "long text" if name == "b" else "x" for name in columns}]
    assert choose_columns(columns, rows)[:2] == expected


def test_guesses_are_told_with_the_flag_that_changes_them() -> None:
    events: list[Any] = []
    choose_columns(["review", "label"], [], on_event=events.append)
    assert notes(events) == [
        "text column: 'review' (guessed; --text-column changes it)",
        "label column: 'label'",
    ]


@pytest.mark.parametrize(
    ("columns", "value", "settings", "found"),
    [
        (["a", "b", "c"], "x", {}, "no column is known as the text; the columns are 'a', 'b', 'c'"),
        (["text", "b", "c"], "x", {}, "no column is known as the label"),
        (["text"], "x", {}, "no column is known as the label; the columns are none"),
        (["text", "label"], "1.5", {}, "'text', guessed to be the text, holds only numbers"),
        (["text", "label"], "x", {"text_column": "txt"}, "no column 'txt'"),
    ],
)
def test_columns_that_cannot_be_guessed_are_listed(
    columns: list[str], value: str, settings: dict[str, str], found: str
) -> None:
    rows: list[dict[str, str | None]] = [dict.fromkeys(columns, value)]
    with pytest.raises(DatasetError, match=found):
        choose_columns(columns, rows, **settings)


def test_a_first_line_that_is_data_is_told() -> None:
    rows: list[dict[str, str | None]] = [{"pos": label, "I liked it": "so"} for label in "ab"]
    rows.append({"pos": "pos", "I liked it": "it was very good"})
    with pytest.raises(DatasetError, match=r"first line looks like data.*'pos'"):
        choose_columns(["pos", "I liked it"], rows)


def test_a_guessed_label_that_never_repeats_is_refused() -> None:
    rows: list[dict[str, str | None]] = [{"id": str(n), "text": "a"} for n in range(20)]
    with pytest.raises(DatasetError, match="'id', guessed to be the label, has another value"):
        choose_columns(["id", "text"], rows)


def test_prediction_needs_no_label_column() -> None:
    assert choose_columns(["utterance"], [], need_label=False) == ("utterance", None, None)
    assert choose_columns(["only"], [], need_label=False) == ("only", None, None)
    assert choose_columns(["id", "text", "n"], [], need_label=False) == ("text", None, None)


@pytest.mark.parametrize(
    "data", ["nope.csv", "./nope", "/no/pe", "~/no-pe", "a\\b", "a/b/c", "a b", "-"]
)
def test_paths_that_do_not_exist_never_ask_the_hub(
    monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.setattr(hub, "_ask_hub", lambda name: pytest.fail("asked"))
    with pytest.raises(DatasetError, match="no such file or folder"):
        locate_data(data)


def test_a_local_folder_in_front_makes_it_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree(tmp_path, {"data/reviews/x.txt": ""}))
    monkeypatch.setattr(hub, "_ask_hub", lambda name: pytest.fail("asked"))
    with pytest.raises(DatasetError) as caught:
        locate_data("data/review")
    assert caught.value.remedy == "did you mean data/reviews?"


def test_an_unreachable_hub_says_what_works_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree(tmp_path, {"reviews/a/x.txt": ""}))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_ask_hub", lambda name: "unreachable")
    with pytest.raises(DatasetError, match="the Hub cannot be reached") as caught:
        locate_data("reviws")
    assert "did you mean reviews?" in caught.value.remedy
    assert "movie-reviews" in caught.value.remedy
    with pytest.raises(DatasetError) as caught:
        locate_data("movie-revews")
    assert "did you mean movie-reviews?" in caught.value.remedy


def test_a_hub_that_never_answers_is_given_up_within_five_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *_, **__: time.sleep(1), raising=True
    )
    start = time.perf_counter()
    with pytest.raises(DatasetError, match="cannot be reached"):
        locate_data("owner/name")
    assert time.perf_counter() - start < 1


def test_a_cached_hub_data_set_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "datasets" / "owner___big_name" / "default" / "0.0.0" / "abc").mkdir(parents=True)
    monkeypatch.setattr(hub, "_ask_hub", lambda name: "unreachable")
    locate_data("owner/BigName")


def test_a_hub_data_set_gives_label_names_and_leaves_out_what_is_unlabeled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )

    def table(labels: list[int]) -> datasets.Dataset:
        texts = [f"text {n}" for n in range(len(labels))]
        return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)

    loaded = datasets.DatasetDict(
        train=table([1, 0]), test=table([-1, -1]), unsupervised=table([-1])
    )
    monkeypatch.setattr(hub, "_ask_hub", lambda name: "there")
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded)
    events: list[Any] = []
    data = read_labeled("owner/name", on_event=events.append)
    assert data.name == "owner-name"
    assert data.splits == {
        "train": (
            Example("text 0", "pos", "owner/name:train", 1),
            Example("text 1", "neg", "owner/name:train", 2),
        )
    }
    assert sum("left out" in note for note in notes(events)) == 2


def test_of_two_hub_splits_that_mean_the_same_one_is_read_and_the_other_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict({"text": [name] * count, "label": ["x"] * count})
            for name, count in (("dev", 3), ("train", 1), ("validation", 2), ("val", 4))
        }
    )
    monkeypatch.setattr(hub, "_ask_hub", lambda name: "there")
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded)
    events: list[Any] = []
    splits = read_labeled("owner/name", on_event=events.append).splits
    assert {split: [e.text for e in own] for split, own in splits.items()} == {
        "train": ["train"],
        "validation": ["validation"] * 2,
    }
    assert [note for note in notes(events) if "left out" in note] == [
        "owner/name: split 'dev' (3 rows) is left out: there is another validation split",
        "owner/name: split 'val' (4 rows) is left out: there is another validation split",
    ]


def test_a_hub_data_set_that_fails_to_load_is_a_user_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(name: str) -> None:
        raise ValueError("Config name is missing.\nPlease pick one")

    monkeypatch.setattr(hub, "_ask_hub", lambda name: "there")
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DatasetError, match="cannot be loaded: Config name is missing"):
        read_labeled("owner/name")


def test_the_movie_reviews_test_split_is_fixed_and_shares_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["id\tsentiment\ttext"]
    for n in range(60):
        score = "0.0" if n % 10 == 9 else ("1.5" if n % 2 else "-0.5")
        lines.append(f'{n}\t{score}\t"Text  {n // 4} \u00e9')
    path = tmp_path / "reviews.txt"
    path.write_bytes("\r\n".join([*lines, ""]).encode())
    examples, num_neutral = movie_reviews.parse_movie_reviews(path)
    assert num_neutral == 6
    assert examples[0] == Example(
        '"Text  0 \u00e9', "negative", "movie-reviews", 1, {"id": "0", "sentiment": "-0.5"}
    )
    alone = [dataclasses.replace(e, text=f"{e.label} {e.row // 2}") for e in examples]
    rows = movie_reviews.fixed_test_rows(alone, 7)
    chosen = [example for example in alone if example.row in rows]
    assert rows == movie_reviews.fixed_test_rows(alone[::-1], 7)
    assert sorted(e.label or "" for e in chosen) == ["negative"] * 7 + ["positive"] * 7
    assert not {e.text for e in chosen} & {e.text for e in alone if e.row not in rows}
    # copies with two labels stay out of the test split
    assert (
        movie_reviews.fixed_test_rows([Example("A  b", "x", row=1), Example("a B", "y", row=2)], 1)
        == set()
    )


def test_movie_reviews_data_set_yields_mappings_in_order(tmp_path: Path) -> None:
    tree(tmp_path, {"pos/b.txt": "fine", "pos/a.txt": "clich\u00c3\u00a9", "neg/c.txt": "bad"})
    data = MovieReviewsDataset(tmp_path)
    assert [data[place] for place in range(len(data))] == [
        {"text": "bad", "label": "neg"},
        {"text": "clich\u00c3\u00a9", "label": "pos"},
        {"text": "fine", "label": "pos"},
    ]
    assert data.labels == ["neg", "pos", "pos"]
    assert MovieReviewsDataset(str(tmp_path), fix_text=True)[1]["text"] == "clich\u00e9"


def test_movie_reviews_data_set_tells_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        MovieReviewsDataset(tmp_path / "nope")
    with pytest.raises(DatasetError, match=r"no .txt files in subfolders"):
        MovieReviewsDataset(tmp_path)
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(DatasetError, match="a file"):
        MovieReviewsDataset(tmp_path / "x.txt")


def test_locating_data_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lasttoken.data.readers import locate_data; locate_data('.');"
        "heavy = {'torch', 'datasets', 'pyarrow', 'sklearn', 'ftfy'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"

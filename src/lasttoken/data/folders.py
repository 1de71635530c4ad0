"""Folder trees of texts, `<label>/*.txt` or `<split>/<label>/*.txt`, in one fixed order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lasttoken.data.examples import Example
from lasttoken.data.files import read_whole_text
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, Progress, ignore

# What folders, files and Hub splits are called, and the split that they are.
SPLIT_OF = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}

# In aclImdb, train/unsup holds texts that nobody labeled.
UNLABELED = "unsup"
_PROGRESS_FILES = 256


class TextFile(NamedTuple):
    """A text file and the label that its folder's name gives it."""

    path: Path
    label: str


def label_folders(root: Path) -> list[TextFile]:
    """Return all `<label>/*.txt` below `root`, sorted by label, then by file name."""
    return [
        TextFile(file, folder.name) for folder in _subfolders(root) for file in _text_files(folder)
    ]


def read_tree(
    root: Path, *, encoding: str = "utf-8", on_event: EventCallback = ignore
) -> dict[str, tuple[Example, ...]]:
    """Read a tree of texts; returns its splits ("train" alone where it has none).

    Raises:
        DatasetError: there are no label folders with .txt files, or a file cannot be read.
    """
    split_roots = {
        folder: SPLIT_OF[folder.name.lower()]
        for folder in _subfolders(root)
        if folder.name.lower() in SPLIT_OF and label_folders(folder)
    }
    files: dict[str, list[TextFile]] = {}
    for folder, split in split_roots.items():
        files.setdefault(split, []).extend(label_folders(folder))
    if not split_roots:
        files = {"train": label_folders(root)}
    if not any(files.values()):
        raise DatasetError(
            f"{root}: no .txt files in subfolders" + _what_is_there(root),
            expected="a folder a label: pos/*.txt, neg/*.txt, or train/pos/*.txt, test/pos/*.txt",
            remedy="name the folder above the label folders",
        )
    total = sum(map(len, files.values()))
    done = 0
    splits = {}
    for split, members in files.items():
        labeled = [file for file in members if file.label != UNLABELED]
        if len(labeled) < len(members):
            count = len(members) - len(labeled)
            on_event(
                Note(f"{root}: {count:,} texts in {split}/{UNLABELED} have no label: left out")
            )
            done += count
        examples = []
        for example in read_text_files(labeled, encoding):
            examples.append(example)
            done += 1
            if done % _PROGRESS_FILES == 0 or done == total:
                on_event(Progress("read", done, total, "files"))
        splits[split] = tuple(examples)
    return splits


def read_text_files(files: list[TextFile], encoding: str = "utf-8") -> Iterator[Example]:
    """Yield one example a file, in the order given.

    Raises:
        DatasetError: a file cannot be read, or is not in `encoding`.
    """
    for file in files:
        text = read_whole_text(file.path, encoding)
        yield Example(text, file.label, file=str(file.path), row=1)


def _subfolders(root: Path) -> list[Path]:
    return sorted(
        (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")),
        key=lambda folder: folder.name,
    )


def _text_files(folder: Path) -> list[Path]:
    return sorted(
        (file for file in folder.glob("*.txt") if file.is_file() and not file.name.startswith(".")),
        key=lambda file: file.name,
    )


def _what_is_there(root: Path) -> str:
    names = sorted(entry.name for entry in root.iterdir())
    if not names:
        return " (the folder is empty)"
    return " (it holds " + ", ".join(names[:5]) + (", ...)" if len(names) > 5 else ")")

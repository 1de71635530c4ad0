"""`MovieReviewsDataset`: a folder of labeled texts as a torch data set."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import Dataset

from lasttoken.data.examples import Example
from lasttoken.data.files import find_path
from lasttoken.data.folders import UNLABELED, label_folders, read_text_files
from lasttoken.data.unicode import fix_texts
from lasttoken.errors import DatasetError

__all__ = ["Example", "MovieReviewsDataset"]


class MovieReviewsDataset(Dataset[dict[str, str]]):
    """All `<label>/*.txt` below a folder, sorted by label, then by file name.

    A folder `unsup`, as in aclImdb, holds texts without a label and is left out.

    Args:
        path: the folder that holds one folder a label; any labels will do.
        fix_text: repair broken Unicode with ftfy.

    Attributes:
        labels: the label of every text, in order.

    Raises:
        DatasetError: the folder is missing, has no label folders, or they hold no .txt files.
    """

    def __init__(self, path: str | Path, fix_text: bool = False) -> None:
        """Read all texts."""
        root = find_path(str(path))
        found_files = label_folders(root) if root.is_dir() else []
        files = [file for file in found_files if file.label != UNLABELED]
        if not files:
            found = "no .txt files in subfolders" if root.is_dir() else "a file"
            raise DatasetError(
                f"{path}: {found}",
                expected="a folder that holds one folder a label, such as pos/*.txt and neg/*.txt",
                remedy="name the folder above the label folders",
            )
        examples = list(read_text_files(files))
        self.texts = [example.text for example in examples]
        self.labels = [file.label for file in files]
        if fix_text:
            self.texts = fix_texts(self.texts)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, str]:
        """Return {"text": ..., "label": ...}."""
        return {"text": self.texts[index], "label": self.labels[index]}

"""Any bytes as data, any text to predict: an answer or one of our errors, never anything else.

`make prove-fuzz` tries 100,000 inputs; what that gave stands in docs/proofs.md. The default suite
tries a few hundred.
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lasttoken import LastTokenError, TextClassifier
from lasttoken.data.readers import read_labeled
from lasttoken.data.tables import iter_rows

FRAGMENTS = [
    b"text", b"label", b",", b";", b"\t", b"|", b"\n", b"\r\n", b"\r", b'"', b'""', b"'", b" ",
    b"\\", b"good", b"bad", b"pos", b"neg", b"NA", b"null", b"1", b"01", b"1e999", b"-0", b"NaN",
    b"true",
    b"{", b"}", b"[", b"]", b":", b'{"text": "good", "label": "pos"}\n', b'"text": ', b"\\ud83d",
    b"\\u0000", b"text,label\n", b"good,pos\n", b'"a, b",neg\n', b"\xef\xbb\xbf", b"\xff\xfe",
    b"\xfe\xff", b"\x00", b"\x00\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x1a", b"\x85", b"\x0c",
    "😀".encode(), "\u2028".encode(), "\u202e".encode(), b"PAR1", b"PK\x03\x04", b"<html>", b"%PDF",
    b"<|endoftext|>", b"x" * 5_000,
]  # fmt: skip
CONTENTS = st.builds(
    b"".join, st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=6), max_size=30)
)
NAMES = st.sampled_from(["f.csv", "f.tsv", "f.jsonl", "f.json", "f.txt", "f.parquet", "f.dat", "f"])
ENCODINGS = st.sampled_from(
    ["utf-8"] * 6
    + ["utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1", "utf-7", "shift_jis", "x"]
)
COLUMNS = st.sampled_from([None, None, "text", "label", "", "nothing"])
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=[]), max_size=40)
    | st.sampled_from(["", " ", "<|endoftext|>", "\x00", "a" * 3_000, "\ud83d", "😀" * 50]),
    min_size=1,
    max_size=6,
)


def check_told(error: LastTokenError) -> None:
    assert all((error.found, error.expected, error.remedy))


def check_reading(
    content: bytes, name: str, encoding: str, text: str | None, label: str | None, skip: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("LASTTOKEN_FUZZ_DIR")) as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            data = read_labeled(
                str(path), text_column=text, label_column=label, encoding=encoding,
                skip_bad_rows=skip,
            )  # fmt: skip
            for example in data.all_examples():
                assert isinstance(example.text, str)
                assert isinstance(example.label, str)
                example.text.encode("utf-8")
        except LastTokenError as error:
            check_told(error)
        try:
            for number, row in iter_rows(str(path), encoding=encoding, skip_bad_rows=skip):
                assert number > 0
                assert all(value is None or isinstance(value, str) for value in row.values())
        except LastTokenError as error:
            check_told(error)


def check_predicting(classifier: TextClassifier, texts: list[str]) -> None:
    try:
        probs = classifier.predict_proba(texts)
    except LastTokenError as error:
        check_told(error)
        has_half = any(0xD800 <= ord(c) <= 0xDFFF for text in texts for c in text)
        if not has_half:  # nothing else in a text is a reason to refuse it
            raise
        return
    assert probs.shape == (len(texts), 2)
    assert np.isfinite(probs).all()
    assert all(math.isclose(row.sum(), 1.0, abs_tol=1e-5) for row in probs)


SLOW = settings(database=None, suppress_health_check=list(HealthCheck), derandomize=True)
READINGS = {
    "content": CONTENTS, "name": NAMES, "encoding": ENCODINGS, "text": COLUMNS, "label": COLUMNS,
    "skip": st.booleans(),
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier(finished_run: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(finished_run)


@settings(SLOW, max_examples=300)
@given(**READINGS)
def test_any_bytes_are_read_or_refused(**words: object) -> None:
    check_reading(**words)  # type: ignore[arg-type]


@settings(SLOW, max_examples=100)
@given(texts=TEXTS)
def test_any_text_is_classified_or_refused(classifier: TextClassifier, texts: list[str]) -> None:
    check_predicting(classifier, texts)


@pytest.mark.proof
@pytest.mark.timeout(7_200)
@settings(SLOW, max_examples=90_000)
@given(**READINGS)
def test_90_000_files_are_read_or_refused(**words: object) -> None:
    check_reading(**words)  # type: ignore[arg-type]


@pytest.mark.proof
@pytest.mark.timeout(7_200)
@settings(SLOW, max_examples=10_000)
@given(texts=TEXTS)
def test_10_000_lists_of_texts_are_classified_or_refused(
    classifier: TextClassifier, texts: list[str]
) -> None:
    check_predicting(classifier, texts)

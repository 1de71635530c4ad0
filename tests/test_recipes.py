"""The recipes of the how-to page that need other programs do what the page says."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Command
from lasttoken import TextClassifier
from test_predict_command import TEXTS

PAGE = Path(__file__).parent.parent / "docs" / "how-to.md"


def spark_recipe(run: Path) -> str:
    """Return the recipe as it stands on the page, for another run."""
    section = PAGE.read_text(encoding="utf-8").partition("## Predict in a Spark job\n")[2]
    (block,) = re.findall(r"^```python\n(.*?)^```", section.partition("\n## ")[0], re.S | re.M)
    assert block.count('RUN = "runs/reviews-gpt2"') == 1
    return str(block.replace('"runs/reviews-gpt2"', repr(str(run))))


def answers_of(predict: Command, run: Path, texts: list[str], folder: Path) -> list[Any]:
    """Return label and probability of each text by the command line."""
    pq.write_table(pa.table({"text": texts}), folder / "one.parquet")
    words = (folder / "one.parquet", "--output", folder / "expected.parquet")
    assert predict("predict", run, *words, "--precision", "fp32").code == 0
    columns = ["text", "predicted_label", "predicted_probability"]
    return pq.read_table(folder / "expected.parquet", columns=columns).to_pylist()


def test_the_function_in_the_spark_recipe_answers_as_predict_does(
    finished_run: Path, lasttoken: Command, tmp_path: Path
) -> None:
    (function,) = [node for node in ast.parse(spark_recipe(finished_run)).body
                   if isinstance(node, ast.FunctionDef)]  # fmt: skip
    function.decorator_list = []  # Spark's, which hands over the batches
    names: dict[str, Any] = {"pd": pd, "Iterator": Iterator, "TextClassifier": TextClassifier,
                             "RUN": str(finished_run)}  # fmt: skip
    exec(compile(ast.Module([function], []), str(PAGE), "exec"), names)
    classify: Callable[[Iterator[pd.Series]], Iterator[pd.DataFrame]] = names["classify"]
    batches = iter([pd.Series(TEXTS[:2]), pd.Series(TEXTS[2:])])
    given = pd.concat(classify(batches)).to_dict("records")
    expected = answers_of(lasttoken, finished_run, TEXTS, tmp_path)
    assert [row["predicted_label"] for row in given] == [row["predicted_label"] for row in expected]
    for row, other in zip(given, expected):
        assert row["predicted_probability"] == pytest.approx(
            other["predicted_probability"], abs=1e-6
        )


@pytest.mark.slow
def test_the_spark_recipe_runs_as_it_is_printed(
    finished_run: Path, lasttoken: Command, tmp_path: Path
) -> None:
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    texts = [f"film {n}, " + "good bad " * (n % 5) for n in range(300)]
    expected = answers_of(lasttoken, finished_run, texts, tmp_path)
    table = pa.table({"id": range(301), "text": [*texts, None], "other": [1.5] * 301})
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=100)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", spark_recipe(finished_run)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    given = pq.read_table(tmp_path / "labels.parquet").sort_by("id").to_pylist()
    assert [row["id"] for row in given] == list(range(300))
    assert list(given[0]) == ["id", "text", "other", "predicted_label", "predicted_probability"]
    for row, other in zip(given, expected, strict=True):
        assert (row["text"], row["predicted_label"]) == (other["text"], other["predicted_label"])
        assert row["predicted_probability"] == pytest.approx(
            other["predicted_probability"], abs=1e-6
        )

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

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from conftest import Command
from families import save_decoder
from lasttoken import TextClassifier
from test_predict_command import TEXTS

PAGE = Path(__file__).parent.parent / "docs" / "how-to.md"


def recipe(title: str, **values: object) -> str:
    """Return a recipe as it stands on the page, with other values of some names it assigns."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2]
    (block,) = re.findall(r"^```python\n(.*?)^```", section.partition("\n## ")[0], re.S | re.M)
    program = ast.parse(block)
    for node in program.body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for place, name in enumerate(names):
                if getattr(name, "id", None) in values:
                    parts[place] = ast.Constant(values.pop(name.id))
            node.value = parts[0] if len(parts) == 1 else ast.Tuple(parts, ast.Load())
    assert not values
    return ast.unparse(ast.fix_missing_locations(program))


def spark_recipe(run: Path) -> str:
    return recipe("Predict in a Spark job", RUN=str(run))


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


@pytest.mark.slow
def test_two_processes_that_share_a_sharded_model_train_what_one_does(
    lasttoken: Command, tmp_path: Path
) -> None:
    save_decoder(tmp_path / "decoder", family="qwen3")
    for part, num_texts in (("train", 16), ("validation", 6)):
        for label, word in (("neg", "bad "), ("pos", "good ")):
            folder = tmp_path / "reviews" / part / label
            folder.mkdir(parents=True)
            for n in range(num_texts):
                (folder / f"{n}.txt").write_text(f"film {n} was " + word * (n % 5 + 1))
    weights, printed = [], []
    for num_processes in (1, 2):
        name = f"trained-by-{num_processes}"
        program = recipe(
            "Train a model that fits on no single device",
            MODEL="decoder",
            FOLDER=name,
            BATCH_SIZE=8,
            RATE=1e-3,
            how={"precision": "fp32"},
        )
        (tmp_path / "sharded.py").write_text(program)
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
             str(num_processes), "sharded.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
                 "GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_CPU": "true",
                 "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        weights.append(load_file(tmp_path / name / "model.safetensors"))
        printed.append(
            [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
        )
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=2e-5)
    assert [row[0] for row in printed[0]] == [1, 2]
    assert printed[1] == pytest.approx(np.array(printed[0]), abs=1e-4)
    (tmp_path / "texts.txt").write_text("film 3 was good good\nfilm 9 was bad\n")
    answers = [
        lasttoken("predict", tmp_path / f"trained-by-{count}", tmp_path / "texts.txt").out
        for count in (1, 2)
    ]
    first, second = ([line.split(",") for line in text.splitlines()] for text in answers)
    assert [row[1] for row in first] == [row[1] for row in second]
    for one, other in zip(first[1:], second[1:], strict=True):
        assert float(one[2]) == pytest.approx(float(other[2]), abs=1e-4)

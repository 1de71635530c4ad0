"""Exported models take the path of prediction that runs take: shards, going on, Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exports import export, save_classifier, write_answered
from killing import KILLED, Runs
from test_light import GONE, run_fresh

from conftest import Command
from lasttoken.config import PredictConfig
from lasttoken.deploy import ranges
from lasttoken.deploy.light.record import GRAPH_NAME, file_sha256
from lasttoken.deploy.ray import _prepare
from lasttoken.errors import ConfigError
from lasttoken.events import ignore
from test_ray_prediction import Started

NUM_TEXTS = 5_000  # three chunks


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three labels, exported in fp32; for reading only."""
    base = tmp_path_factory.mktemp("exported")
    model = save_classifier(base)
    return export(model, write_answered(base / "data.csv", model), base / "exported").folder


def write(path: Path, num_rows: int) -> Path:
    """Write ids and texts of many lengths."""
    texts = [f"film {n}, " + "good " * (n % 9) for n in range(num_rows)]
    pq.write_table(pa.table({"id": list(range(num_rows)), "text": texts}), path)
    return path


def test_the_shards_of_an_exported_model_joined_are_the_whole(
    exported: Path, lasttoken: Command, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.parquet", 2_500)
    whole = tmp_path / "whole.jsonl"
    assert lasttoken("predict", exported, source, "--output", whole).code == 0
    joined = b""
    for number in (1, 2, 3):
        part = tmp_path / f"{number}.jsonl"
        words = (source, "--output", part, "--shard", f"{number}/3")
        outcome = lasttoken("predict", exported, *words)
        assert outcome.code == 0, outcome.err
        joined += part.read_bytes()
        record = part.with_name(f"{part.name}.shard.json").read_text()
        assert file_sha256(exported / GRAPH_NAME) in record
        assert '"precision": "fp32"' in record
    assert joined.count(b"\n") == 2_500
    assert joined == whole.read_bytes()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("predict")
    write(folder / "in.parquet", NUM_TEXTS)
    with Runs(folder) as started:
        yield started


@pytest.mark.slow
def test_a_prediction_of_an_exported_model_that_dies_goes_on(runs: Runs, exported: Path) -> None:
    def predict(name: str, **options: int) -> int:
        words = (runs.folder / "in.parquet", "--output", runs.folder / name)
        return runs.run("predict", exported, *words, **options)

    assert predict("whole.parquet") == 0, runs.printed()
    for call in (3, 9, 10):  # while the answers of the first, second, third chunk are kept
        assert predict("killed.parquet", kill_at=call) == KILLED
        assert not (runs.folder / "killed.parquet").exists()
    runs.printed()
    assert predict("killed.parquet") == 0
    told = "4,000 texts were classified before the interruption, and not again"
    assert told in runs.printed()
    content = (runs.folder / "killed.parquet").read_bytes()
    assert content == (runs.folder / "whole.parquet").read_bytes()
    assert list(runs.folder.glob(".killed*")) == []


def test_a_worker_answers_with_an_exported_model_as_one_process_does(
    exported: Path, lasttoken: Command, tmp_path: Path
) -> None:
    source, target = write(tmp_path / "in.parquet", 700), tmp_path / "one.parquet"
    assert lasttoken("predict", exported, source, "--output", target).code == 0
    config = PredictConfig(run=str(exported), input=(str(source),), engine="ray",
                           output=str(tmp_path / "out.parquet"))  # fmt: skip
    with pytest.raises(ConfigError, match="--precision bf16 with an exported model"):
        _prepare(replace(config, precision="bf16"), ignore)
    job = _prepare(config, ignore)
    assert job.context["weights"] == file_sha256(exported / GRAPH_NAME)
    work, received, rows = ranges.RangeClassifier(job), ranges.Received(), []
    for each in ranges.divide(config.input, (700,), 300):
        batch = {key: np.array([value]) for key, value in each.items()}
        for table in work(batch):
            rows += received.rows_of(table.to_pylist())
    assert rows == pq.read_table(target).to_pylist()


def test_sending_work_to_workers_takes_no_torch() -> None:
    program = f"names = ('torch', 'transformers')\n{GONE}\nimport lasttoken.deploy.ray"
    assert run_fresh(program) == ""


@pytest.mark.slow
def test_two_workers_with_an_exported_model_give_the_file_of_one_process(
    exported: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    source = write(tmp_path / "in.parquet", 9_000)
    one, many = tmp_path / "one.parquet", tmp_path / "many.parquet"
    for target, words in ((one, ()), (many, ("--engine", "ray", "--num-workers", 2))):
        code, err = Started(exported, source, "--output", target, *words).end()
        assert code == 0, err
    assert "Ray: 2 workers of" in err
    assert many.read_bytes() == one.read_bytes()

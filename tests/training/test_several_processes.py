"""Several processes train what one does: the same examples in the same order, the same losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import write_reviews

# 32 training examples: batches of 5, 5, 5, 5, 5, 5, 2, two a step. No dropout: a process draws its
# own numbers.
SETTINGS = (
    "--num-epochs", "2", "--batch-size", "5", "--gradient-accumulation-steps", "2",
    "--learning-rate", "1e-3", "--max-length", "32", "--precision", "fp32", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from families import save_decoder

    folder = tmp_path_factory.mktemp("models") / "dry"
    return save_decoder(folder, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0)


def train(
    folder: Path, model: Path, num_processes: int, *more: str, stop_behind: int = 0
) -> subprocess.CompletedProcess:
    """Run the command in one process, or in several by torchrun; one thread each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                str(num_processes)] if num_processes > 1 else []  # fmt: skip
    program = [str(Path(__file__).with_name("stopped_command.py")), "trace", str(stop_behind)]
    words = [
        sys.executable, *launcher, *program, "train", "reviews.csv", "--model", str(model),
        "--output-dir", "run", *SETTINGS, *more,
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_reviews(folder / "reviews.csv")
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def history(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "run" / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def trace(folder: Path, rank: int) -> list[int]:
    return [int(line) for line in (folder / f"trace-{rank}").read_text().split()]


def check_alike(folder: Path, other: Path, rel: float = 1e-6) -> None:
    for mine, theirs in zip(history(folder), history(other), strict=True):
        for key in mine.keys() - {"seconds"}:
            # A loss near 0 is a difference of logits near 1, which rounding moves by 1e-7.
            assert mine[key] == pytest.approx(theirs[key], rel=rel, abs=1e-7), key


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [2, 3])
def test_several_processes_train_what_one_does(
    num_processes: int, model: Path, tmp_path: Path
) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    assert train(one, model, 1).returncode == 0
    outcome = train(several, model, num_processes)
    assert outcome.returncode == 0, outcome.stderr
    check_alike(several, one)
    record = json.loads((several / "run" / "run.json").read_text())
    assert record["machine"]["processes"] == num_processes
    assert outcome.stdout.count("epoch 1: train loss") == 1  # one process prints
    order = trace(one, 0)
    head, order = order[:32], order[32:]  # every process fits the head that training starts from
    assert len(order) == 2 * 32
    epochs = [order[:32], order[32:]]
    batches = [epoch[n : n + 5] for epoch in epochs for n in range(0, 32, 5)]
    for rank in range(num_processes):
        parts = [batch[rank::num_processes] or batch[:1] for batch in batches]
        assert trace(several, rank) == head + [index for part in parts for index in part]


@pytest.mark.slow
def test_several_processes_train_the_adapters_that_one_does(model: Path, tmp_path: Path) -> None:
    more = ("--trainable", "lora", "--layer-decay", "0.8", "--gradient-checkpointing",
            "--class-weights", "pos=2")  # fmt: skip
    folders = tmp_path / "one", tmp_path / "several"
    for num_processes, folder in enumerate(folders, start=1):
        outcome = train(folder, model, num_processes, *more)
        assert outcome.returncode == 0, outcome.stderr
    check_alike(*folders, rel=1e-5)
    heads, a, b = zip(*(adapter_of(folder) for folder in folders))
    for mine, theirs in (heads, a, b):
        assert (mine - theirs).abs().max() <= 1e-5


def adapter_of(folder: Path) -> list[torch.Tensor]:
    """The head, and an A and a B."""
    saved = load_file(folder / "run" / "adapter" / "adapter_model.safetensors")
    block = "base_model.model.transformer.h.0.mlp.c_fc.lora_"
    return [saved[name] for name in
            ("base_model.model.score.weight", f"{block}A.weight", f"{block}B.weight")]  # fmt: skip


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(model: Path, tmp_path: Path) -> None:
    """From one process to two and back: the same examples, losses within rounding; not bits."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, model, 1).returncode == 0
    for num_processes, step in ((1, 2), (2, 5)):  # in the middle of an epoch, both times
        outcome = train(parts, model, num_processes, stop_behind=step)
        assert outcome.returncode != 0
        assert "Traceback" not in outcome.stderr.split("torch/distributed")[0]
        latest = (parts / "run" / "checkpoints" / "LATEST").read_text().strip()
        assert latest.endswith(f"-step-{step}"), outcome.stderr
    outcome = train(parts, model, 1)
    assert outcome.returncode == 0, outcome.stderr
    assert "-step-5: 5 of 8 steps" in outcome.stderr
    assert "processes 1, now 2" not in outcome.stderr  # it began with one, and ends with one
    record = json.loads((parts / "run" / "run.json").read_text())
    assert [entry["step"] for entry in record["resumed"]] == [2, 5]
    check_alike(parts, whole)

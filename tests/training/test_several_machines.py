"""Several machines, as far as two launchers on one machine are two: each starts one process (gloo).

What the how-to tells of launchers, shared folders and sharded models is what these tests hold.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_several_processes import SETTINGS, check_alike, train

from conftest import write_reviews
from families import save_decoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "dry"
    return save_decoder(folder, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0)


@pytest.fixture
def port(socket_enabled: None) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


TORCHRUN = ("torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1")
ACCELERATE = (
    "accelerate.commands.launch", "--multi_gpu", "--num_machines", "2", "--num_processes", "2",
    "--num_cpu_threads_per_process", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
)  # fmt: skip


def start(
    folder: Path, launcher: tuple[str, ...], rank: int, port: int, model: Path
) -> subprocess.Popen:
    """Start the launcher of one machine in a folder of its own, or of both."""
    address = (
        ("--node-rank", str(rank), "--master-addr", "127.0.0.1", "--master-port", str(port))
        if launcher[0] == "torch.distributed.run"
        else ("--machine_rank", str(rank), "--main_process_ip", "127.0.0.1",
              "--main_process_port", str(port), "--rdzv_backend", "static")
    )  # fmt: skip
    words = ["-m", "lasttoken", "train", "reviews.csv", "--model", str(model),
             "--output-dir", "run", *SETTINGS]  # fmt: skip
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path),
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *address, *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(machines: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Wait for the launchers; end them if they take too long."""
    try:
        ends = [machine.communicate(timeout=200) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
            machine.wait()
    return [(m.returncode, out, err) for m, (out, err) in zip(machines, ends, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_machines_with_a_shared_folder_train_what_one_process_does(
    launcher: tuple[str, ...], model: Path, tmp_path: Path, port: int
) -> None:
    one, shared = tmp_path / "one", tmp_path / "shared"
    assert train(one, model, 1).returncode == 0
    shared.mkdir()
    write_reviews(shared / "reviews.csv")
    ends = finish([start(shared, launcher, rank, port, model) for rank in range(2)])
    assert [code for code, _, _ in ends] == [0, 0], ends
    check_alike(shared, one)
    assert ends[0][1].count("epoch 1: train loss") == 1
    assert "epoch 1" not in ends[1][1]  # one process prints


@pytest.mark.slow
def test_two_machines_without_a_shared_folder_train_too_and_one_has_the_run(
    model: Path, tmp_path: Path, port: int
) -> None:
    one = tmp_path / "one"
    assert train(one, model, 1).returncode == 0
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        write_reviews(folder / "reviews.csv")
    own_model = Path(shutil.copytree(model, tmp_path / "model-of-the-second"))
    machines = zip(folders, (model, own_model), strict=True)
    ends = finish(
        [start(folder, TORCHRUN, rank, port, own) for rank, (folder, own) in enumerate(machines)]
    )
    assert [code for code, _, _ in ends] == [0, 0], ends
    check_alike(folders[0], one)
    assert not (folders[1] / "run").exists()


@pytest.mark.slow
def test_a_sharded_model_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    """FSDP: what this version does not do is told before anything is trained."""
    write_reviews(tmp_path / "reviews.csv")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
             "lasttoken", "train", "reviews.csv", "--model", str(model), "--output-dir", "run",
             *SETTINGS]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path),
             "ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
             "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "error: launched as FSDP" in done.stderr
    assert "expected: one process, or several that hold the whole model each (DDP)" in done.stderr
    assert not (tmp_path / "run").exists()

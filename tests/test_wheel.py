"""The built wheel, installed into an environment that holds nothing else, does the main job."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from families import save_decoder

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*words: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_installs_and_runs_in_an_empty_environment(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT,
        cwd=tmp_path)  # fmt: skip
    (wheel,) = tmp_path.glob("lasttoken-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "lasttoken/py.typed" in names
    assert any(name.endswith("report.html.j2") for name in names)
    assert not [name for name in names if name.startswith(("tests", "docs", "examples"))]
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    bin_folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(bin_folder / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel,
        cwd=tmp_path)  # fmt: skip
    assert "lasttoken train" in run(bin_folder / "lasttoken", "--help", cwd=tmp_path)
    model = save_decoder(tmp_path / "decoder", initializer_range=0.02)
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([[f"{word} {i}", word] for i in range(60) for word in ("good", "bad")])
    out = run(bin_folder / "lasttoken", "train", "reviews.csv", "--model", model,
              "--num-epochs", "1", "--output-dir", "run", cwd=tmp_path)  # fmt: skip
    assert "report    run/report.html" in out
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000

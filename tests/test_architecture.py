"""The order of the house: who imports whom, who owns which dependency, how large a room may be."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lasttoken

SOURCE = Path(lasttoken.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

# Top to bottom: a module imports from its own stage and from those before it.
STAGES = (
    "errors", "events", "settings", "template", "config", "versions", "durable", "launch", "data",
    "model", "inference", "evaluation", "training", "estimator", "tune", "runs", "doctor", "deploy",
    "cli",
)  # fmt: skip
ENTRANCES = {"__init__", "__main__"}  # they hand out names of all stages

OWNERS = {
    "accelerate": {"training"},
    "captum": {"evaluation"},
    "cleanlab": {"evaluation"},
    "datasets": {"data"},
    "fastapi": {"deploy"},
    "filelock": {"runs"},
    "ftfy": {"data"},
    "gguf": {"model"},
    "h11": {"deploy"},  # comes with uvicorn
    "huggingface_hub": {"data", "deploy", "doctor", "evaluation", "model"},  # evaluation: the card
    "jinja2": {"evaluation"},
    "markupsafe": {"evaluation"},  # comes with jinja2
    "matplotlib": {"evaluation"},
    "onnx": {"deploy"},
    "onnxruntime": {"deploy"},
    "onnxscript": {"deploy"},
    "optuna": {"tune"},
    "peft": {"model"},
    "prometheus_client": {"deploy"},
    "pyarrow": {"data"},
    "pydantic": {"deploy"},  # comes with fastapi
    "ray": {"deploy"},
    "rich": {"cli"},
    "safetensors": {"model", "training"},
    "starlette": {"deploy"},  # comes with fastapi
    "tokenizers": {"deploy", "model"},
    "transformers": {"model"},
    "tyro": {"cli"},
    "uvicorn": {"deploy"},
}
FREE = {"numpy", "scipy", "sklearn", "torch", "typing_extensions"}
LONGEST_MODULE = 300
BANNED_NAMES = {"utils", "helpers", "common", "core", "base", "misc", "types"}


def stage_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Every module name that a file imports, wherever in the file, type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module))
    return names


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 40
    assert {stage_of(path) for path in MODULES} == set(STAGES) | ENTRANCES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_its_own_stage_and_those_above(path: Path) -> None:
    stage = stage_of(path)
    if stage in ENTRANCES:
        return
    allowed = set(STAGES[: STAGES.index(stage) + 1])
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "lasttoken" and len(parts) > 1:
            assert parts[1] in allowed, f"{stage} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_heavy_dependency_has_one_owner(path: Path) -> None:
    for name in imported(path):
        package = name.split(".")[0]
        if package in sys.stdlib_module_names or package in FREE | {"lasttoken"}:
            continue
        assert package in OWNERS, f"{package} has no owner"
        assert stage_of(path) in OWNERS[package], f"{package} belongs to {OWNERS[package]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_is_small_and_well_named(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < LONGEST_MODULE
    assert path.stem not in BANNED_NAMES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_command_line_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [node for node in calls if getattr(node.func, "id", "") == "print"]
    assert not prints or stage_of(path) == "cli"


def test_public_names_are_complete_sorted_and_importable() -> None:
    assert lasttoken.__all__ == sorted(lasttoken.__all__)
    assert set(lasttoken.__all__) == set(lasttoken._HOMES)
    assert set(lasttoken.__all__) <= set(dir(lasttoken))
    for name in lasttoken.__all__:
        assert getattr(lasttoken, name) is getattr(
            importlib.import_module(lasttoken._HOMES[name]), name
        )


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lasttoken.nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, lasttoken, lasttoken.cli; "
        "print([name for name in ('torch', 'numpy', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

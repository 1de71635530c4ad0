"""The pages are true: generated ones current, links whole, commands and programs valid."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from lasttoken.cli import COMMANDS
from lasttoken.cli.arguments import parse
from lasttoken.config import PredictConfig
from lasttoken.events import ignore
from lasttoken.runs.opening import open_run
from lasttoken.runs.predict import run_prediction

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(generate: ModuleType) -> None:
    assert generate.PAGE.read_text(encoding="utf-8") == generate.reference(), (
        "docs/reference.md is not what docs/generate.py writes; run: make docs"
    )


def test_the_reference_knows_every_file_and_field_of_a_run(
    generate: ModuleType, finished_run: Path, tmp_path: Path
) -> None:
    written = {path.name + "/" * path.is_dir() for path in finished_run.iterdir()}
    sometimes = {
        "adapter/", "evaluations/", "exported/", "checkpoints/", "label_issues.csv", "tracker/",
    }  # fmt: skip
    assert written | sometimes == set(generate.RUN_FILES)
    record = json.loads((finished_run / "run.json").read_text(encoding="utf-8"))
    assert set(record) | {"process"} == set(generate.RUN_FIELDS)
    metrics = json.loads((finished_run / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == set(generate.METRICS_FIELDS)
    predictions = pq.read_table(finished_run / "predictions" / "test.parquet").column_names
    assert predictions == list(generate.PREDICTION_FIELDS)
    texts, labels = tmp_path / "texts.txt", tmp_path / "labels.parquet"
    texts.write_text("what a film\n", encoding="utf-8")
    run_prediction(
        PredictConfig(
            run=str(finished_run),
            input=(str(texts),),
            output=str(labels),
            abstain_below=0.9,
            shard="1/1",
        ),
        open_run,
        on_event=ignore,
    )
    record = json.loads((tmp_path / "labels.parquet.shard.json").read_text(encoding="utf-8"))
    assert list(record) == list(generate.SHARD_FIELDS)
    columns = pq.read_table(labels).column_names
    added = [re.sub(r"^probability_.*", "probability_<label>", name) for name in columns[1:]]
    assert list(dict.fromkeys(added)) == list(generate.PREDICT_COLUMNS)


def test_the_reference_shows_every_field_of_the_records(
    generate: ModuleType, finished_run: Path
) -> None:
    page = generate.reference()
    model = json.loads((finished_run / "model" / "lasttoken.json").read_text(encoding="utf-8"))
    first_line = (finished_run / "history.jsonl").read_text(encoding="utf-8").splitlines()[0]
    metrics = json.loads((finished_run / "metrics.json").read_text(encoding="utf-8"))
    scores = metrics["test"]
    for name in [*model, *json.loads(first_line), *scores, *scores["per_label"]["neg"]]:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(found), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_parse(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in _blocks(page, "toml"):
        name = re.match(r"# (\S+\.toml)\n", block)
        if name:
            Path(name.group(1)).write_text(block, encoding="utf-8")
    for words in _commands(page):
        assert words[0] in COMMANDS, words
        assert parse(COMMANDS[words[0]].config_class, words[1:], program="lasttoken") is not None


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for block in _blocks(page, "bash"):
        for target in re.findall(r"^make (\w+)", block, flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_compiles_and_imports_what_exists(page: Path) -> None:
    for block in _blocks(page, "python"):
        compile(block, page.name, "exec")
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lasttoken"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name), f"{page.name}: {node.module}.{name.name}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=\[]", entry)[0] for entry in project["dependencies"]}
    page = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| (\w[\w-]*) \|", page, flags=re.MULTILINE)) - {"Package"} == names
    for entry in project["optional-dependencies"]["dev"]:
        assert re.split(r"[<>=\[]", entry)[0] in page


def test_the_changelog_knows_this_version() -> None:
    from lasttoken import __version__

    assert f"## [{__version__}] - 20" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def _blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def _commands(page: Path) -> Iterator[list[str]]:
    """Yield the words behind `lasttoken` of every command in a page's bash blocks."""
    for block in _blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for start, word in enumerate(words):
                if word == "lasttoken" and (start == 0 or words[start - 1] in ("|", "&&")):
                    rest = words[start + 1 :]
                    ends = (i for i, w in enumerate(rest) if w in ("|", ">", "2>", "&&", "<"))
                    yield rest[: next(ends, len(rest))]


def _prose(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}

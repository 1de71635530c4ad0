"""Exported models behind the server: answers, words and facts as of a run, and no torch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import export, save_classifier, write_answered
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from served import TEXTS, ask, served, serving

from conftest import Command, write_reviews
from lasttoken import TextClassifier
from lasttoken.config.serving import ServeConfig
from lasttoken.data.labels import LabelSpec
from lasttoken.deploy.light import LightClassifier
from lasttoken.deploy.opening import opener_of
from lasttoken.deploy.serving.opening import name_of_model, settle_model
from lasttoken.deploy.serving.service import Answers, Service
from lasttoken.evaluation.leaving_out import explain_by_leaving_out
from lasttoken.events import ignore
from lasttoken.runs.row_classifier import OpenedModel

FORMATS = {"onnx": "fp32", "onnx-int8": "int8"}
LONG = "a wonderful film of which much more could be said, and is"  # cut at 32 tokens


def opened(folder: Path, precision: Any = "auto") -> OpenedModel:
    """Open a folder as the command does."""
    settings = settle_model(ServeConfig(run=str(folder), precision=precision))
    return opener_of(settings.run)(settings, ignore)


@pytest.fixture(scope="module")
def exported_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, exported in both formats; for reading only."""
    base = tmp_path_factory.mktemp("exported")
    run = Path(shutil.copytree(finished_run, base / "run"))
    reviews = write_reviews(base / "reviews.csv")
    for name in FORMATS:
        export(run, reviews, run / "exported" / name, format=name)
    return run


@pytest.mark.parametrize("name", FORMATS)
def test_a_text_gets_the_same_bits_as_from_predict_whatever_it_rides_with(
    exported_run: Path, name: str
) -> None:
    folder = exported_run / "exported" / name
    expected = LightClassifier.from_folder(folder).predict_probs(TEXTS)
    chance = random.Random(0)
    requests = [
        [chance.randrange(len(TEXTS)) for _ in range(chance.randint(1, 12))] for _ in range(60)
    ]

    async def run(service: Service) -> list[Answers]:
        return await asyncio.gather(
            *(service.classify([(TEXTS[n],) for n in request]) for request in requests)
        )

    with serving(opened(folder), max_tokens_per_batch=300) as (service, _):
        answers = asyncio.run(run(service))
    for request, answer in zip(requests, answers):
        assert answer.probs.tolist() == expected[request].tolist()
    assert service.batcher.counts.num_batches < sum(map(len, requests))  # they did share batches


def test_an_export_in_fp32_answers_and_explains_as_the_run(
    exported_run: Path, classifier: TextClassifier
) -> None:
    asked = {"texts": [*TEXTS[:5], LONG], "probabilities": True, "explain": True}
    light, torch = (
        ask(model, lambda client: client.post("/classify", json=asked)).json()["predictions"]
        for model in (opened(exported_run / "exported" / "onnx"), classifier)
    )
    assert [one["label"] for one in light] == [one["label"] for one in torch]
    assert [one["truncated"] for one in light] == [one["truncated"] for one in torch]
    assert light[-1]["truncated"]
    for one, other in zip(light, torch):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)
        assert [word["text"] for word in one["words"]] == [word["text"] for word in other["words"]]
        np.testing.assert_allclose(
            [word["weight"] for word in one["words"]],
            [word["weight"] for word in other["words"]],
            atol=1e-4,
        )
    assert any(word["weight"] for word in light[-1]["words"])
    assert light[-1]["words"][-1]["weight"] == 0  # was cut away


def test_words_of_an_export_in_int8_are_what_it_says_itself_without_them(
    exported_run: Path,
) -> None:
    light = LightClassifier.from_folder(exported_run / "exported" / "onnx-int8")
    text = "a wonderful film"
    (whole,) = light.predict_probs([text])
    label = int(whole.argmax())
    left = light.predict_probs(["wonderful film", "a film", "a wonderful"])
    asked = {"texts": [text], "explain": True}
    response = ask(
        opened(exported_run, "int8"), lambda client: client.post("/classify", json=asked)
    )
    words = response.json()["predictions"][0]["words"]
    weights = {word["text"]: word["weight"] for word in words if word["text"].strip()}
    expected = dict(zip(("a", "wonderful", "film"), whole[label] - left[:, label]))
    assert weights == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "reading",
    [
        {"has_pairs": True, "long": "cut-middle", "max_length": 24},
        pytest.param(
            {"long": "windows", "max_length": 20, "template": "R: {text}\n"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["pairs", "windows"],
)
def test_pairs_and_windows_are_read_as_offline(reading: dict[str, Any], tmp_path: Path) -> None:
    model = save_classifier(tmp_path, **reading)
    texts = [f"film number {n}, {'long ' * n}" for n in range(12)]
    pairs = texts[::-1] if "has_pairs" in reading else None
    export(model, write_answered(tmp_path / "data.csv", model, texts, pairs), tmp_path / "out",
           text_pair_column="pair" if pairs else None)  # fmt: skip
    light = LightClassifier.from_folder(tmp_path / "out")
    asked: dict[str, Any] = {"texts": texts, "probabilities": True, "explain": True}
    if pairs:
        asked["text_pairs"] = pairs
    found = ask(
        opened(tmp_path / "out"), lambda client: client.post("/classify", json=asked)
    ).json()["predictions"]
    expected = light.predict_probs(texts, pairs)
    assert [list(one["probabilities"].values()) for one in found] == expected.tolist()
    assert [one["truncated"] for one in found] == light.tokenize(texts, pairs).truncated.tolist()
    torch = TextClassifier.from_pretrained(model, precision="fp32", device="cpu")
    spans = explain_by_leaving_out(torch, texts, expected.argmax(axis=1), pairs=pairs)
    for one, own in zip(found, spans):
        assert [word["text"] for word in one["words"]] == [span.text for span in own]
        np.testing.assert_allclose(
            [word["weight"] for word in one["words"]], [span.weight for span in own], atol=1e-4
        )


@pytest.mark.slow
def test_sets_of_labels_are_given_from_their_thresholds_on(tmp_path: Path) -> None:
    labels = LabelSpec(("anger", "fear", "joy"), "multi_label")
    record: dict[str, object] = {"thresholds": {"anger": 0.9, "fear": 0.2, "joy": None}}
    model = save_classifier(tmp_path, labels=labels, record=record)
    data = write_answered(tmp_path / "data.csv", model)
    export(model, data, tmp_path / "out")
    found = ask(
        opened(tmp_path / "out"),
        lambda client: client.post("/classify", json={"texts": TEXTS, "probabilities": True}),
    ).json()["predictions"]
    least = {"anger": 0.9, "fear": 0.2, "joy": 0.5}
    for one in found:
        given = [label for label, share in one["probabilities"].items() if share >= least[label]]
        assert one["labels"] == given


@pytest.mark.parametrize(("name", "precision"), FORMATS.items())
def test_info_tells_the_precision_and_the_name_of_the_run(
    exported_run: Path, name: str, precision: str
) -> None:
    folder = exported_run / "exported" / name
    response = ask(opened(folder), lambda client: client.get("/info"))
    info = response.json()
    assert info["precision"] == precision
    assert info["reading_path"] == "onnxruntime"
    assert info["max_length"] == 32
    assert info["labels"] == ["neg", "pos"]
    assert str(exported_run) not in response.text
    assert name_of_model(str(folder)) == name_of_model(str(exported_run)) == "run"


def test_int8_of_a_run_is_its_export_and_int8_of_an_export_itself(exported_run: Path) -> None:
    expected = str(exported_run / "exported" / "onnx-int8")
    for run in (exported_run, Path(expected)):
        settings = settle_model(ServeConfig(run=str(run), precision="int8"))
        assert settings.run == expected
    assert opened(exported_run, "int8").context["precision"] == "int8"
    assert opened(exported_run / "exported" / "onnx", "fp32").context["precision"] == "fp32"
    assert opened(exported_run, "fp32").context["reading_path"] == "packed"


def test_int8_without_an_export_says_how_to_make_one(
    lasttoken: Command, finished_run: Path
) -> None:
    outcome = lasttoken("serve", finished_run, "--precision", "int8")
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        f"error: --precision int8: no exported model in {finished_run}/exported/onnx-int8",
        "expected: the run with its matrices in 8 bits, compared with the run",
        f"try: lasttoken export {finished_run} --format onnx-int8",
    ]


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    ("name", "flag", "value"),
    [
        ("onnx", "--precision", "int8"),
        ("onnx", "--precision", "bf16"),
        ("onnx-int8", "--precision", "fp32"),
        ("onnx-int8", "--device", "cuda"),
    ],
)
def test_what_an_export_has_settled_otherwise_is_refused(
    lasttoken: Command, exported_run: Path, name: str, flag: str, value: str
) -> None:
    folder = exported_run / "exported" / name
    outcome = lasttoken("serve", folder, "--port", "0", flag, value)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-3:] == [
        f"error: {flag} {value} with an exported model ({name})",
        "expected: the precision it was exported with, on the CPU",
        f"try: leave {flag} out, or take the run itself",
    ]


@pytest.mark.usefixtures("socket_enabled")
def test_int8_on_another_device_than_a_cpu_is_refused(
    lasttoken: Command, exported_run: Path
) -> None:
    words = ("--port", "0", "--precision", "int8", "--device", "cuda")
    outcome = lasttoken("serve", exported_run, *words)
    assert outcome.code == 2
    assert "error: --device cuda with an exported model (onnx-int8)" in outcome.err


# Serves where only some packages are.
SERVE = """
import importlib.abc, json, sys

class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}")

absent = set(json.loads(sys.stdin.readline())) - set(sys.modules)
sys.meta_path.insert(0, Gone())
from lasttoken.cli import main
code = main(sys.argv[1:])
assert not absent & set(sys.modules)
sys.exit(code)
"""


def light_packages() -> list[str]:
    """The packages that the Dockerfile installs into the image without torch."""
    text = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    stage = text[text.index("AS light") : text.index("AS full")]
    installed = stage[stage.index("constraints.txt") : stage.index("&& rm")]
    return installed.replace("\\", "").split()[1:]


def missing_with(packages: list[str]) -> list[str]:
    """The modules of this environment that none of the packages brings, nor what they require."""
    found: set[str] = set()
    while packages:
        name = canonicalize_name(packages.pop())
        if name in found:
            continue
        found.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            for requirement in map(Requirement, metadata.requires(name) or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    packages.append(requirement.name)
    return [
        module for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & {*found, "lasttoken"}
        and module not in sys.stdlib_module_names
    ]  # fmt: skip


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.allow_hosts(["127.0.0.1"])
def test_an_exported_folder_is_served_where_only_the_packages_of_the_light_image_are(
    exported_run: Path,
) -> None:
    absent = missing_with(light_packages())
    assert {"torch", "transformers", "sklearn", "pyarrow", "onnx"} <= set(absent)
    folder = exported_run / "exported" / "onnx-int8"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", str(folder), "--port", "0"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    print(json.dumps(absent), file=process.stdin, flush=True)
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"serving at (http://\S+)/ ", line):
                break
        else:
            pytest.fail("".join(said))
        request = urllib.request.Request(
            found.group(1) + "/classify",
            json.dumps({"texts": TEXTS[:3], "explain": True}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            predictions = json.load(response)["predictions"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [one["label"] for one in predictions] == LightClassifier.from_folder(folder).predict(
        TEXTS[:3]
    )


def test_the_page_is_told_all_it_needs_of_an_export(exported_run: Path) -> None:
    keys = {*served(opened(exported_run / "exported" / "onnx")).facts}
    assert keys == {*served(opened(exported_run)).facts}

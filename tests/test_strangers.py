"""Models from strangers: nothing is executed or fetched, and nothing absurd is believed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import FAST, Command, check_refused, hash_folder


class Calls:
    """Calls something when it is unpickled."""

    def __init__(self, function: Callable[..., object], *words: object) -> None:
        self.call = function, words

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def nested(payload: Calls) -> object:
    return {"state": [{"rng": (1, [payload])}]}


@pytest.fixture
def model(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A model to spoil."""
    return Path(shutil.copytree(tiny_gpt2, tmp_path / "stranger"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that appears if something was executed."""
    return tmp_path / "was-run"


PAYLOADS: dict[str, Callable[[Path], object]] = {
    "os.mkdir": lambda marker: Calls(os.mkdir, str(marker)),
    "os.system": lambda marker: Calls(os.system, f"touch {marker}"),
    "eval": lambda marker: Calls(eval, f"__import__('os').mkdir({str(marker)!r})"),
    "nested": lambda marker: nested(Calls(os.mkdir, str(marker))),
}
PICKLES = ("pytorch_model.bin", "model.pt", "weights.pth", "model.pkl", "last.ckpt",
           "training_args.bin", "optimizer.pt", "rng_state.pth")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "payload"),
    [*((name, "os.mkdir") for name in PICKLES), *((PICKLES[0], how) for how in PAYLOADS)],
)
def test_a_pickle_alone_is_refused_by_name_and_never_opened(
    name: str, payload: str, lasttoken: Command, reviews: Path, model: Path, marker: Path
) -> None:
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(pickle.dumps(PAYLOADS[payload](marker)))
    check_refused(
        lasttoken("train", reviews, "--model", model),
        found=f"{model}: pickled weights ({name})",
        expected="weights as *.safetensors (loading a pickle can run any code)",
        remedy="where you trust the file",
    )
    assert not marker.exists()
    pickle.loads((model / name).read_bytes())  # it would have
    assert marker.exists()


def test_pickles_beside_safetensors_are_never_opened(
    lasttoken: Command, reviews: Path, model: Path, marker: Path, without_plots: None
) -> None:
    for name in PICKLES:
        (model / name).write_bytes(pickle.dumps(PAYLOADS["os.mkdir"](marker)))
    torch.save({"weight": Calls(os.mkdir, str(marker))}, model / "adapter_model.bin")
    assert lasttoken("train", reviews, "--model", model, "--output-dir", "run", *FAST).code == 0
    assert lasttoken("predict", "run", reviews).code == 0
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "custom_pipelines", {"text-classification": {"impl": "evil.Evil"}}),
        ("config.json", "trust_remote_code", True),
        ("generation_config.json", "auto_map", {"x": "evil.Evil"}),
        ("processor_config.json", "auto_map", {"AutoProcessor": "evil.Evil"}),
        ("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["someone/evil--evil.Evil", None]}),
        ("config.json", "_attn_implementation_internal", "paged|someone/kernel"),
        ("config.json", "attn_implementation", {"text": "someone/kernel"}),
    ],
)
def test_every_key_that_asks_for_code_is_refused_by_name(
    file: str, key: str, value: object, lasttoken: Command, reviews: Path, model: Path,
    marker: Path, opened_sockets: list[str],
) -> None:  # fmt: skip
    (model / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass")
    path = model / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, key: value}))
    outcome = lasttoken("train", reviews, "--model", model)
    named = f"{key}.text" if isinstance(value, dict) and "text" in value else key
    check_refused(
        outcome,
        found=f"{path}: the key {named!r} asks for code from elsewhere",
        expected="a model that transformers itself knows how to run",
        remedy="remove",
    )  # fmt: skip
    assert not marker.exists()
    assert opened_sockets == []


def test_an_unknown_class_of_tokenizer_is_refused_by_name(
    lasttoken: Command, reviews: Path, model: Path
) -> None:
    for path in model.glob("tokenizer*.json"):
        path.unlink()
    content = {"tokenizer_class": "EvilTokenizer", "auto_map": None}
    (model / "tokenizer_config.json").write_text(json.dumps(content))
    check_refused(
        lasttoken("train", reviews, "--model", model),
        found=f"{model}: its tokenizer cannot be loaded",
        expected="tokenizer.json beside config.json",
        remedy="save the tokenizer into the folder",
    )


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("num_labels", 10**9, "num_labels is 1000000000"),
        ("num_labels", -1, "num_labels is -1"),
        ("vocab_size", 10**12, "vocab_size is 1000000000000"),
        ("n_embd", 10**7, "n_embd is 10000000"),
        ("n_layer", 10**9, "n_layer is 1000000000"),
        ("n_layer", "many", "n_layer is many"),
        ("layer_norm_epsilon", float("nan"), "layer_norm_epsilon is nan"),
        ("n_head", True, "n_head is True"),
    ],
)
def test_an_absurd_configuration_is_refused_by_name(
    key: str, value: object, found: str, lasttoken: Command, reviews: Path, model: Path
) -> None:
    content = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**content, key: value}))
    check_refused(
        lasttoken("train", reviews, "--model", model),
        found=f"{model / 'config.json'}: {found}",
        expected="a",
        remedy="fetch or save the model again",
    )


@pytest.mark.parametrize("changes", [{"vocab_size": 9_000_000}, {"n_layer": 9_000}])
def test_a_model_larger_than_its_weights_takes_no_memory(
    changes: dict[str, int], lasttoken: Command, reviews: Path, model: Path
) -> None:
    content = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**content, **changes}))
    check_refused(
        lasttoken("train", reviews, "--model", model),
        found=f"{model}: config.json describes ",
        expected="a config.json that describes the weights beside it",
        remedy="fetch or save the model again",
    )


@pytest.mark.parametrize("depth", [100, 100_000])
def test_a_deeply_nested_configuration_is_read_or_refused(
    depth: int, lasttoken: Command, reviews: Path, model: Path
) -> None:
    text = (model / "config.json").read_text().rstrip().removesuffix("}")
    nest = '{"a":' * depth + '{"auto_map": {"x": "evil.Evil"}}' + "}" * depth
    (model / "config.json").write_text(f'{text}, "deep": {nest}}}')
    outcome = lasttoken("train", reviews, "--model", model)
    check_refused(outcome, found=f"{model / 'config.json'}: ", expected="a", remedy="")


HEADERS = {
    "nothing": b"",
    "half a length": b"\x08\x00",
    "a length beyond the file": struct.pack("<Q", 10**6) + b"{}",
    "a length beyond memory": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"evil",
    "overlapping tensors": None,
    "offsets beyond the file": None,
}


def header(tensors: dict[str, object]) -> bytes:
    content = json.dumps(tensors).encode()
    return struct.pack("<Q", len(content)) + content + b"\x00" * 16


HEADERS["overlapping tensors"] = header(
    {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in ("a", "b")}
)
HEADERS["offsets beyond the file"] = header(
    {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
)


@pytest.mark.parametrize("what", HEADERS)
def test_a_damaged_file_of_weights_is_refused(
    what: str, lasttoken: Command, reviews: Path, model: Path
) -> None:
    (model / "model.safetensors").write_bytes(HEADERS[what])
    check_refused(
        lasttoken("train", reviews, "--model", model), found=f"{model}", expected="", remedy=""
    )


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", 7])
def test_an_index_that_leads_out_of_the_folder_is_refused(
    name: object, lasttoken: Command, reviews: Path, model: Path
) -> None:
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": name}}
    path = model / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    check_refused(
        lasttoken("train", reviews, "--model", model),
        found=f"{path}: names weights in {str(name)!r}",
        expected="names of files in this folder",
        remedy="fetch or save the model again",
    )


ADDRESSES = ("http://169.254.169.254/latest/meta-data", "http://localhost:1/x", "file:///etc/passwd",
             "https://example.com/data.csv")  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_never_fetched_whatever_it_stands_for(
    address: str, lasttoken: Command, reviews: Path, tiny_gpt2: Path, finished_run: Path,
    tmp_path: Path, opened_sockets: list[str],
) -> None:  # fmt: skip
    for words in (
        ("train", address, "--model", tiny_gpt2),
        ("train", reviews, "--model", address),
        ("train", reviews, "--model", tiny_gpt2, "--test", address),
        ("predict", finished_run, address),
        ("predict", address, reviews),
        ("evaluate", finished_run, address),
        ("check", address),
    ):
        outcome = lasttoken(*words)
        assert outcome.code == 2, words
        assert "Traceback" not in outcome.err
    (tmp_path / "texts.txt").write_text(address + "\n")
    outcome = lasttoken("predict", finished_run, "texts.txt")
    assert outcome.code == 0
    assert address in outcome.out  # text is text
    assert opened_sockets == []


def test_no_command_opens_a_socket_where_all_is_local(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, opened_sockets: list[str],
    without_plots: None,
) -> None:  # fmt: skip
    command = ("train", reviews, "--model", tiny_gpt2, "--output-dir", "run", *FAST)
    assert lasttoken(*command).code == 0
    assert lasttoken(*command).code == 0  # its results are there
    assert lasttoken("evaluate", "run", reviews).code == 0
    assert lasttoken("predict", "run", reviews, "--output", "labels.csv").code == 0
    assert lasttoken("check", reviews, "--model", tiny_gpt2).code in (0, 1)
    assert opened_sockets == []


def test_overwriting_a_run_behind_a_link_removes_nothing_else(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, run_copy: Path, tmp_path: Path,
    without_plots: None,
) -> None:  # fmt: skip
    private = tmp_path / "private"
    private.mkdir()
    (private / "thesis.txt").write_text("years of work")
    before = hash_folder(private)
    shutil.rmtree(run_copy / "plots", ignore_errors=True)
    (run_copy / "plots").symlink_to(private)
    (run_copy / "checkpoints").symlink_to(private)
    (tmp_path / "link").symlink_to(run_copy)
    words = ("train", reviews, "--model", tiny_gpt2, "--output-dir", "link", *FAST)
    assert lasttoken(*words, "--seed", "9").code == 2  # a run with other settings
    outcome = lasttoken(*words, "--seed", "9", "--overwrite")
    assert outcome.code == 0, outcome.err
    assert hash_folder(private) == before


def test_dots_in_a_name_lead_nowhere_unexpected(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path, without_plots: None
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    os.chdir(tmp_path / "deep" / "er")
    assert lasttoken("train", "../../reviews.csv", "--model", tiny_gpt2, *FAST).code == 0
    assert [path.name for path in Path("runs").iterdir()] == ["reviews-tiny-gpt2"]

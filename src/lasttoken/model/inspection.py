"""Whether a model folder may be loaded at all: looked at before transformers sees it.

Models come from strangers. Nothing in a folder is executed, no file is opened that could be (a
pickle), nothing outside of it is read, and no number in it makes us take memory for what is not
there. Everything refused is refused by name.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lasttoken.errors import BackboneError

_PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
_CONFIGURATIONS = (
    "config.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json",
    "processor_config.json", "preprocessor_config.json",
)  # fmt: skip
_INDEX = "model.safetensors.index.json"

# Keys by which a configuration makes a loader run code or fetch it.
_CODE_KEYS = {"auto_map", "custom_pipelines", "trust_remote_code"}

# No model has more of these by far; with more, loading alone would fill the memory.
_LARGEST = {
    "num_labels": 1_000_000, "vocab_size": 10_000_000, "num_hidden_layers": 10_000,
    "n_layer": 10_000, "n_positions": 10**9, "max_position_embeddings": 10**9,
    "original_max_position_embeddings": 10**9,
}  # fmt: skip
_LARGEST_SIZE = 1_000_000  # hidden size, heads
_SIZES = {
    "hidden_size", "n_embd", "intermediate_size", "n_inner", "num_attention_heads", "n_head",
    "num_key_value_heads", "head_dim",
}  # fmt: skip

# Of a safetensors file; the largest models need about 1 MB for the names of their tensors.
_LONGEST_HEADER = 20_000_000

# A byte of weights on the disk stands for at most so many: none are stored in less than 2 bits.
_WEIGHTS_PER_BYTE = 4


def inspect_folder(folder: Path) -> None:
    """Refuse a folder that is no model, would run code on loading, or is absurd.

    Raises:
        BackboneError: no config.json; weights are pickled, missing or damaged; a configuration
            asks for code or an attention implementation from elsewhere, holds NaN, or describes
            a model far larger than its weights; the index of the weights leads out of the folder;
            it is an adapter without its base model; or it is no decoder-only model.
    """
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        raise BackboneError(
            f"{folder}: "
            + ("an adapter without its base model" if adapter else "no config.json in this folder"),
            expected="a model folder: config.json, *.safetensors and tokenizer files",
            remedy="merge the adapter into its base model first" if adapter else "check --model",
        )
    config = read_json(folder / "config.json")
    for name in _CONFIGURATIONS:
        if (folder / name).is_file():
            _refuse_content(folder / name, read_json(folder / name))
    if config.get("is_encoder_decoder"):
        raise not_a_decoder(str(folder), f"model type {config.get('model_type')!r}, has an encoder")
    _refuse_index(folder / _INDEX)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLE_SUFFIXES)
        raise BackboneError(
            f"{folder}: "
            + (f"pickled weights ({', '.join(pickles[:3])})" if pickles else "no weights"),
            expected="weights as *.safetensors (loading a pickle can run any code)",
            remedy="where you trust the file, load it with transformers and call "
            "save_pretrained() into a new folder",
        )
    for path in weights:
        _refuse_header(path)
    _refuse_phantom(folder, config, sum(path.stat().st_size for path in weights))


def not_a_decoder(name: str, reason: str) -> BackboneError:
    """Return the error for a model whose last token has not seen the whole text."""
    return BackboneError(
        f"model {name!r} is no decoder: {reason}",
        expected="a causal language model, whose last token has seen the whole text",
        remedy="--model smollm2, gpt2, or a folder of the GPT-2, Llama, Qwen, Mistral ... family",
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        BackboneError: it cannot be read, is nested too deeply, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(content, dict):
        raise _unreadable(path, "holds no JSON object")
    return content


def _unreadable(path: Path, reason: str, expected: str = "a JSON object") -> BackboneError:
    return BackboneError(
        f"{path}: {reason}",
        expected=expected,
        remedy="fetch or save the model again",
    )


def _refuse_content(path: Path, content: dict[str, Any]) -> None:
    for key, value in _items(content):
        last = key.rpartition(".")[2]
        is_foreign = "attn" in key and isinstance(value, str) and "/" in value
        asks_for_code = last in _CODE_KEYS and value not in (None, False)
        if asks_for_code or is_foreign or last.endswith("_implementation_internal"):
            raise BackboneError(
                f"{path}: the key {key!r} asks for code from elsewhere",
                expected="a model that transformers itself knows how to run",
                remedy=f"remove {key!r} if transformers supports this family, or use another model",
            )
        if isinstance(value, float) and math.isnan(value):
            raise _absurd(path, key, value, "a number")
        largest = _LARGEST.get(last, _LARGEST_SIZE if last in _SIZES else None)
        if largest is not None and value is not None and not _is_size(value, largest):
            raise _absurd(path, key, value, f"a whole number up to {largest:,}")


def _items(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every key, at any depth, with its value; dots between the keys of a path."""
    left: list[tuple[str, Any]] = [("", content)]
    while left:  # no recursion: depth is the stranger's choice
        above, value = left.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                yield above + key, inner
                left.append((f"{above}{key}.", inner))
        elif isinstance(value, list):
            left += [(above, inner) for inner in value]


def _is_size(value: object, largest: int) -> bool:
    if isinstance(value, list):  # a size a layer, in some families
        return all(_is_size(part, largest) for part in value)
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _absurd(path: Path, key: str, value: object, expected: str) -> BackboneError:
    return BackboneError(
        f"{path}: {key} is {str(value)[:40]}",
        expected=expected,
        remedy="fetch or save the model again",
    )


def _refuse_index(path: Path) -> None:
    """Refuse an index of weights that names files in other folders."""
    if not path.is_file():
        return
    names = read_json(path).get("weight_map")
    if not isinstance(names, dict):
        raise _unreadable(path, "holds no weight_map")
    for name in names.values():
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise BackboneError(
                f"{path}: names weights in {str(name)[:80]!r}",
                expected="names of files in this folder",
                remedy="fetch or save the model again",
            )


def _refuse_header(path: Path) -> None:
    """Refuse a safetensors file that is cut off or announces more than any model has."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        num_bytes = path.stat().st_size
    except OSError as error:  # a link to nowhere, say
        raise _unreadable(path, error.strerror or str(error), "a safetensors file") from error
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else None
    if length is None or length > min(num_bytes - 8, _LONGEST_HEADER):
        announced = "no header" if length is None else f"a header of {length:,} bytes"
        raise BackboneError(
            f"{path}: {announced} in {num_bytes:,} bytes",
            expected="a whole safetensors file",
            remedy="fetch or save the model again",
        )


def _refuse_phantom(folder: Path, config: dict[str, Any], num_bytes: int) -> None:
    """Refuse a configuration whose model cannot be in the weights: memory would be taken for it."""
    text = config.get("text_config") or config
    if not isinstance(text, dict):
        raise _unreadable(folder / "config.json", f"text_config is {str(text)[:40]}")

    def size(*names: str) -> int:
        return max((text[name] for name in names if isinstance(text.get(name), int)), default=0)

    hidden = size("hidden_size", "n_embd")
    least = max(size("vocab_size") * hidden, size("num_hidden_layers", "n_layer") * hidden * hidden)
    refuse_more_than(least, folder, num_bytes)


def refuse_more_than(least: int, folder: Path, num_bytes: int | None = None) -> None:
    """Refuse a folder whose weights cannot hold so many.

    Args:
        least: weights that its configuration describes.
        folder: of the model.
        num_bytes: of its weights; None looks.

    Raises:
        BackboneError: they cannot.
    """
    if num_bytes is None:
        num_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if least > num_bytes * _WEIGHTS_PER_BYTE:
        raise BackboneError(
            f"{folder}: config.json describes {least:,} weights or more, the weights are "
            f"{num_bytes:,} bytes",
            expected="a config.json that describes the weights beside it",
            remedy="fetch or save the model again",
        )

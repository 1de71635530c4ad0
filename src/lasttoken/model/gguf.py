"""GGUF files to model folders: converted once, kept in the cache.

transformers reads a GGUF by dequantizing every tensor, which takes about 20 s for 135M
parameters; the result is saved as a plain model folder under the file's SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from lasttoken.data.samples import cache_folder, fetch_sample
from lasttoken.errors import BackboneError
from lasttoken.events import EventCallback, Note, Progress, ignore
from lasttoken.model.quiet import quiet_transformers


def fetch_sample_model(name: str, on_event: EventCallback = ignore) -> Path:
    """Return the model folder of a sample model, fetched and converted at the first call.

    Raises:
        DatasetError: fetching failed.
    """
    return convert_gguf(fetch_sample(name, on_event), on_event)


def convert_gguf(path: Path, on_event: EventCallback = ignore) -> Path:
    """Convert a GGUF file to a model folder in the cache, or return the one made before.

    Raises:
        BackboneError: transformers cannot read the file.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    folder = cache_folder() / f"gguf-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    on_event(Note(f"converting {path.name} to safetensors, once (about 20 s for 135M parameters)"))
    on_event(Progress("convert", 0, 1, "files"))
    cache_folder().mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="converting-", dir=cache_folder()))
    try:
        _convert(path, unfinished)
        try:
            os.replace(unfinished, folder)
        except OSError:  # another process finished the same conversion first
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    on_event(Progress("convert", 1, 1, "files"))
    return folder


def _convert(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"gguf_file": path.name, "local_files_only": True}
    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(
                path.parent,
                **where,
                # Without this the model stays marked as quantized and cannot be saved.
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
            )
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(path.parent, **where).save_pretrained(folder)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise BackboneError(
            f"{path}: not a GGUF model that transformers can read: {error}",
            expected="a GGUF file of a decoder (Llama, Qwen, Mistral, GPT-2 ... architecture)",
            remedy="--model smollm2, or a folder with safetensors",
        ) from error

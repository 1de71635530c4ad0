"""Where a model comes from: sample name, GGUF file, local folder or Hub id.

Two steps, so that a mistake is told within seconds: `locate_model` asks only whether the model
can be had; `fetch_model` then brings it into a local folder and refuses what is unsafe to load
(pickles, remote code, foreign attention). Nothing after this module touches the network.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lasttoken.data.archives import archive_ending, archive_error
from lasttoken.data.hub import HUB_ID, HUB_TIMEOUT_SECONDS, ask_briefly
from lasttoken.data.samples import SAMPLE_MODELS
from lasttoken.errors import BackboneError
from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.model.gguf import convert_gguf, fetch_sample_model
from lasttoken.model.inspection import inspect_folder, read_json

_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class ModelSource:
    """A model that can be had.

    Attributes:
        name: as the user wrote it.
        kind: "sample", "gguf", "folder", or "hub".
    """

    name: str
    kind: Literal["sample", "gguf", "folder", "hub"]


def locate_model(name: str) -> ModelSource:
    """Find out whether a model can be had, within a few seconds and without loading it.

    Args:
        name: sample name, path of a .gguf file or of a folder, or Hub id.

    Raises:
        BackboneError: there is no such file or folder, it is an archive, or it holds no safe model;
            or the Hub does
            not know the id or cannot be reached and the model is not in the local cache.
    """
    if name in SAMPLE_MODELS:
        return ModelSource(name, "sample")
    path = Path(name).expanduser()
    ending = archive_ending(path)
    if ending is not None:
        what = "a model folder, a .gguf file, a Hub id, or a sample name"
        raise archive_error(name, ending, what, BackboneError)
    if path.suffix == ".gguf" and path.is_file():
        return ModelSource(name, "gguf")
    if path.is_dir():
        inspect_folder(path)
        return ModelSource(name, "folder")
    if path.suffix == ".gguf" or not HUB_ID.fullmatch(name) or name.startswith("."):
        raise _no_such_path(path)
    if "/" in name and path.parent.is_dir():
        raise _no_such_path(path)
    if _cached_folder(name) is None:
        _ask_hub(name)
    return ModelSource(name, "hub")


def fetch_model(source: ModelSource, on_event: EventCallback = ignore) -> Path:
    """Bring a model into a local folder of configuration, safetensors and tokenizer.

    Raises:
        BackboneError: fetching failed, or the folder holds something unsafe.
    """
    if source.kind == "sample":
        return fetch_sample_model(source.name, on_event)
    if source.kind == "gguf":
        return convert_gguf(Path(source.name).expanduser(), on_event)
    folder = (
        Path(source.name).expanduser()
        if source.kind == "folder"
        else _cached_folder(source.name) or _download(source.name, on_event)
    )
    inspect_folder(folder)
    return folder


def _no_such_path(path: Path) -> BackboneError:
    parent = path.parent
    siblings = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return BackboneError(
        f"--model {path}: no such file or folder",
        expected="a model folder, a .gguf file, a Hub id, or a sample name",
        remedy=f"did you mean {parent / near[0]}?" if near else "--model smollm2 works right now",
    )


def _cached_folder(hub_id: str) -> Path | None:
    """Return the snapshot in the local Hub cache, if config and weights are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise _no_such_path(Path(hub_id)) from error
    return folder if _is_complete(folder) else None


def _is_complete(folder: Path) -> bool:
    """Return whether nothing is missing, as after an interrupted download."""
    index = folder / "model.safetensors.index.json"
    shards = set(read_json(index)["weight_map"].values()) if index.is_file() else set()
    has_weights = all((folder / name).is_file() for name in shards)
    has_tokenizer = any((folder / n).is_file() for n in ("tokenizer.json", "vocab.json"))
    has_tokenizer = has_tokenizer or any(folder.glob("*.model"))
    return (
        (folder / "config.json").is_file()
        and has_tokenizer
        and has_weights
        and any(folder.glob("*.safetensors"))
    )


def _ask_hub(hub_id: str) -> None:
    """Ask the Hub for one file's headers, once: its own client retries for 23 to 46 s."""
    from huggingface_hub import constants, get_session, get_token, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported at run time
        hf_raise_for_status,
    )

    def question() -> None:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        token = get_token()
        answer = get_session().head(
            hf_hub_url(hub_id, "config.json"),
            # Not the client's own headers: to make them it may fetch a file from the Hub first.
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=HUB_TIMEOUT_SECONDS,
            follow_redirects=True,  # "gpt2" has moved to "openai-community/gpt2"
        )
        hf_raise_for_status(answer)

    fault = ask_briefly(question)
    if fault is None:
        return
    if isinstance(fault, GatedRepoError):
        raise BackboneError(
            f"model {hub_id!r} is gated on the Hub",
            expected="a model that you may download",
            remedy="accept its terms on its page and run `hf auth login`; --model smollm2 works "
            "right now",
        ) from fault
    if isinstance(fault, RepositoryNotFoundError | EntryNotFoundError):
        raise BackboneError(
            f"model {hub_id!r}: neither a local folder nor a model on the Hub",
            expected="a model folder, a .gguf file, a Hub id, or a sample name",
            remedy="check the spelling; --model smollm2 works right now",
        ) from fault
    reason = (str(fault) or type(fault).__name__).splitlines()[0]
    raise BackboneError(
        f"model {hub_id!r}: no such local folder, not in the local cache, and the Hub cannot "
        f"be reached ({reason})",
        expected=f"a connection, or a copy: run `hf download {hub_id} --local-dir {hub_id}` "
        "where there is one, bring the folder here, and pass its path to --model",
        remedy="--model smollm2, which works right now",
    ) from fault


def _download(hub_id: str, on_event: EventCallback) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    on_event(Progress("fetch", 0, None, "bytes", detail=hub_id))
    shown = not os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")
    disable_progress_bars()
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except Exception as error:  # whatever the transport raises, the remedy is the same
        raise BackboneError(
            f"model {hub_id!r}: fetching it from the Hub failed: {error}",
            expected="a complete download",
            remedy="run the same command again; what was fetched is kept",
        ) from error
    finally:
        if shown:
            enable_progress_bars()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    on_event(Progress("fetch", size, size, "bytes", detail=hub_id))
    return folder

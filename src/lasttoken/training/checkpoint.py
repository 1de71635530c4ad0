"""Checkpoints on the disk: written so that one is whole or not there, and read only if whole.

    checkpoints/
      LATEST                     name of the checkpoint to go on from
      000007-step-240/
        weights-000.safetensors            what training changes of the model
        optimizer-exp_avg-000.safetensors  the optimizer's moments, by kind
        progress-000.safetensors           results of the epoch so far, logits of the kept epoch
        state.json                         numbers
        manifest.json                      size and SHA-256 of these, and of the list; written last

Large tensors go into several files (-001 ...), because each is held in memory twice more while it
is written. No file holds a pickle. A checkpoint gets its name when all of it is on the disk; older
ones are removed after that: the two latest stay, and those that hold their kept epochs' weights.

Source:
    The order (files, manifest, rename, pointer, removal) is that of torch.distributed.checkpoint
    and of PyTorch Lightning's atomic save, with the flushes that both leave to the file system.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from lasttoken.durable import NewFolder, remove_folder, replace_file, sweep, telling
from lasttoken.events import EventCallback, Note, ignore

FORMAT = 1
NUM_LATEST = 2  # checkpoints kept beside the best one, so that a damaged one has a predecessor

_STATE, _MANIFEST, _LATEST = "state.json", "manifest.json", "LATEST"
_WEIGHTS, _PROGRESS, _OPTIMIZER = "weights", "progress", "optimizer-"
_TENSORS = re.compile(r"(weights|progress|optimizer-[a-z_]+)-[0-9]{3,}\.safetensors")
_BYTES_PER_FILE = 128 * 2**20  # a larger tensor has a file of its own
_NAME = re.compile(r"([0-9]{6,})-step-[0-9]+")


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on, bit for bit.

    Attributes:
        weights: of the model, those that training changes, by name.
        optimizer: by kind ("exp_avg", "step" ...), what it keeps for each weight, by number.
        progress: results of the epoch so far, and logits of the kept epoch.
        state: numbers and strings, as JSON has them.
        name: of the checkpoint; "" before it was saved.
        kept_weights: of the kept epoch, as `weights`; None if there is none yet.
    """

    weights: dict[str, Tensor]
    optimizer: Mapping[str, Mapping[str, Tensor]]
    progress: Mapping[str, Tensor]
    state: Mapping[str, Any]
    name: str = ""
    kept_weights: Mapping[str, Tensor] | None = None


class CheckpointFolder:
    """The checkpoints of one run; one process at a time may use it.

    Args:
        folder: made at the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def next_name(self, step: int) -> str:
        """Return the name of the next checkpoint, which no other has had."""
        numbers = [_number(name) for name in self._names()]
        return f"{max(numbers, default=0) + 1:06d}-step-{step}"

    def save(self, checkpoint: Checkpoint, name: str, *, best: str | None) -> None:
        """Write a checkpoint, make it the latest, and remove what is no longer needed.

        Args:
            checkpoint: to write.
            name: by `next_name`.
            best: name of the checkpoint that holds the kept epoch's weights, to be kept.

        Raises:
            RunError: the disk is full or the folder cannot be written; the checkpoints that were
                there are whole.
        """
        with telling(self.folder):
            self.folder.mkdir(exist_ok=True)
        sweep(self.folder)
        with NewFolder(self.folder / name) as new:
            _write(new, checkpoint)
        replace_file(self.folder / _LATEST, f"{name}\n".encode())
        self._retire(name, best)

    def load(self, on_event: EventCallback = ignore) -> Checkpoint | None:
        """Return the latest whole checkpoint, or None if there is none.

        Args:
            on_event: hears a warning for each checkpoint that is damaged, and how.
        """
        return self._load(on_event)[0]

    def load_and_mend(self, on_event: EventCallback = ignore) -> Checkpoint | None:
        """Do as `load`, and remove damaged checkpoints, so that whole ones are kept in their place.

        Raises:
            RunError: one cannot be removed.
        """
        found, damaged = self._load(on_event)
        for name in damaged:
            remove_folder(self.folder / name)
        return found

    def _load(self, on_event: EventCallback) -> tuple[Checkpoint | None, list[str]]:
        names = sorted(self._names(), key=_number, reverse=True)
        latest = self._latest()
        if latest in names:  # the others follow, newest first
            names = [latest, *(name for name in names if name != latest)]
        damaged: list[str] = []
        for name in names:
            try:
                return self._read(name), damaged
            except DamagedError as damage:
                on_event(Note(f"checkpoint {name} is damaged: {damage}", is_warning=True))
                damaged.append(name)
        if names:
            text = "no checkpoint is whole: training starts from its beginning"
            on_event(Note(text, is_warning=True))
        return None, damaged

    def clear(self) -> None:
        """Remove every checkpoint, and the folder: a finished run needs none.

        Raises:
            RunError: the folder cannot be written.
        """
        if not self.folder.is_dir():
            return
        sweep(self.folder)
        for name in self._names():
            remove_folder(self.folder / name)
        with telling(self.folder):
            (self.folder / _LATEST).unlink(missing_ok=True)
            if not any(self.folder.iterdir()):  # what others put there stays
                self.folder.rmdir()

    def _retire(self, name: str, best: str | None) -> None:
        """Remove all but the latest checkpoints, and those that hold their kept epochs' weights."""
        latest = sorted(self._names(), key=_number)[-NUM_LATEST:]
        needed = {name, best, *latest, *map(self._best_of, latest)}
        for other in self._names():
            if other not in needed:
                remove_folder(self.folder / other)

    def _best_of(self, name: str) -> str | None:
        try:
            state = json.loads((self.folder / name / _STATE).read_bytes())
            best: str | None = state["kept_checkpoint"]
        except (OSError, ValueError, KeyError, TypeError):  # damaged: told when it is read
            return None
        return best

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return [path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]

    def _latest(self) -> str:
        try:
            return (self.folder / _LATEST).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # a crash before the first one; the folders speak for themselves
            return ""

    def _read(self, name: str) -> Checkpoint:
        contents = _read_whole(self.folder / name)
        try:
            state = json.loads(contents[_STATE])
            tensors = _tensors(contents)
            optimizer = {
                kind.removeprefix(_OPTIMIZER): values
                for kind, values in tensors.items()
                if kind.startswith(_OPTIMIZER)
            }
            best = state["kept_checkpoint"]
            kept_weights = None
            if best is not None:
                if not _NAME.fullmatch(best):  # never a path that leads elsewhere
                    raise DamagedError(f"{_STATE} names a best checkpoint {best!r}")
                whole = _read_whole(self.folder / best, f"its kept epoch's checkpoint {best}: ")
                kept_weights = _tensors(whole)[_WEIGHTS]
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            # Its hash was right: whoever wrote it wrote something else than we do.
            raise DamagedError(f"not of this version's form ({error})") from error
        return Checkpoint(
            tensors[_WEIGHTS], optimizer, tensors[_PROGRESS], state, name, kept_weights
        )


class DamagedError(Exception):
    """A checkpoint is not what was written; the text says which file, and how."""


def _write(folder: NewFolder, checkpoint: Checkpoint) -> None:
    kinds: dict[str, Mapping[str, Tensor]] = {
        _WEIGHTS: checkpoint.weights,
        _PROGRESS: checkpoint.progress,
        **{_OPTIMIZER + kind: values for kind, values in checkpoint.optimizer.items()},
    }
    manifest: dict[str, dict[str, Any]] = {}

    def write(file: str, content: bytes) -> None:
        manifest[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        folder.write(file, content)

    for kind, tensors in kinds.items():
        for number, part in enumerate(_parts(tensors)):
            write(f"{kind}-{number:03d}.safetensors", bytes_of(part))
    write(_STATE, json.dumps(checkpoint.state, indent=1).encode())
    whole = {"format": FORMAT, "files": manifest, "sha256": _sha256_of(manifest)}
    folder.write(_MANIFEST, json.dumps(whole, indent=1).encode())


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors in groups that go into a file each: one group at least."""
    part: dict[str, Tensor] = {}
    num_bytes = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if part and num_bytes + size > _BYTES_PER_FILE:
            yield part
            part, num_bytes = {}, 0
        part[name] = tensor.contiguous()
        num_bytes += size
    yield part


def _tensors(contents: dict[str, bytes]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors by kind and name; each file's content is given up as it is read."""
    found: dict[str, dict[str, Tensor]] = {}
    for file in sorted(contents):
        match = _TENSORS.fullmatch(file)
        if match:
            found.setdefault(match.group(1), {}).update(tensors_of(contents.pop(file)))
    return found


def _read_whole(folder: Path, whose: str = "") -> dict[str, bytes]:
    """Return the content of a checkpoint's files.

    Raises:
        DamagedError: a file is missing, or not as the manifest says.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        if manifest["sha256"] != _sha256_of(manifest["files"]):
            raise DamagedError(f"{whose}{_MANIFEST} is not what was written (its SHA-256 differs)")
        entries = manifest["files"].items()
        expected = {file: (int(e["bytes"]), str(e["sha256"])) for file, e in entries}
        if not all(file == _STATE or _TENSORS.fullmatch(file) for file in expected):
            raise DamagedError(f"{whose}{_MANIFEST} names other files than a checkpoint has")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{whose}{_MANIFEST} cannot be read ({_reason(error)})") from error
    contents = {}
    for file, (num_bytes, sha256) in expected.items():
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            raise DamagedError(f"{whose}{file} cannot be read ({_reason(error)})") from error
        if len(content) != num_bytes:
            raise DamagedError(f"{whose}{file} has {len(content):,} bytes, not {num_bytes:,}")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DamagedError(f"{whose}{file} is not what was written (its SHA-256 differs)")
        contents[file] = content
    return contents


def _sha256_of(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else 0

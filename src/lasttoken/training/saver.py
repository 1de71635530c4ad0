"""When a run is saved: when it is due, at the end of an epoch, and when it is asked to stop."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer

from lasttoken.errors import RunError
from lasttoken.events import EventCallback, Progress
from lasttoken.model.frozen import frozen_but_last
from lasttoken.model.lora import num_learning_weights
from lasttoken.training.checkpoint import NUM_LATEST, Checkpoint, CheckpointFolder
from lasttoken.training.passes import merge_parts
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.resume import capture
from lasttoken.training.state import Extent, TrainState
from lasttoken.training.stopping import StopRequest
from lasttoken.training.world import World


@dataclass(frozen=True)
class CheckpointSettings:
    """Where checkpoints go, and when one is due beside the end of each epoch.

    Attributes:
        folder: of the run's checkpoints.
        every_minutes: wall minutes between two; None is never.
        every_steps: optimizer steps between two; None is never.
    """

    folder: Path
    every_minutes: float | None
    every_steps: int | None


class Saver:
    """Saves a run when it is due, and when the process is asked to stop.

    Args:
        settings: where and when; None saves nothing.
        request: looked at behind every step.
        world: the processes; the main one decides and writes.
        classifier: inside everything that stands in for a weight while it trains.
        optimizer: the plain one.
        state: what the loop changes.
        extent: how much of the model trains.
        on_event: hears `Progress("checkpoint", ...)`.
    """

    def __init__(
        self,
        settings: CheckpointSettings | None,
        request: StopRequest,
        world: World,
        classifier: nn.Module,
        optimizer: Optimizer,
        state: TrainState,
        extent: Extent,
        on_event: EventCallback,
    ) -> None:
        self._settings = settings
        self._request = request
        self._world = world
        self._classifier = classifier
        self._optimizer = optimizer
        self._state = state
        self._extent = extent
        self._on_event = on_event
        self._saved_at = time.perf_counter()

    def after_step(self) -> None:
        """Save if it is due; save and stop if a process was asked to.

        Raises:
            StoppedError: a signal asked for it.
            RunError: the checkpoint cannot be written.
        """
        if self._settings is None:
            return
        is_due, signal_number = self._agree(self._is_due(self._settings))
        if is_due or signal_number:
            self._save(self._settings)
        self._request.stop_by(signal_number)

    def after_epoch(self, *, is_kept: bool) -> None:
        """Save, and note where the kept epoch's weights lie if this is the epoch to keep so far.

        Raises:
            StoppedError: a signal asked for it.
            RunError: the checkpoint cannot be written.
        """
        if self._settings is None:
            return
        _, signal_number = self._agree(True)
        self._save(self._settings, is_kept=is_kept)
        self._request.stop_by(signal_number)

    def after_training(self) -> None:
        """Stop if a process was asked to while the last checkpoint was written.

        Raises:
            StoppedError: a signal asked for it.
        """
        if self._settings is not None:
            self._request.stop_by(self._agree(False)[1])

    def during_validation(self) -> None:
        """Save and stop if this process was asked to, and there is no other to agree with.

        Raises:
            StoppedError: a signal asked for it.
            RunError: the checkpoint cannot be written.
        """
        signal_number = self._request.signal_number or 0
        if self._settings is not None and signal_number and self._world.size == 1:
            self._save(self._settings)
            self._request.stop_by(signal_number)

    def _agree(self, is_due: bool) -> tuple[bool, int]:
        """Return what every process is to do: save or not, and stop by which signal, 0 for none."""
        mine = (int(is_due and self._world.is_main), self._request.signal_number or 0)
        save, signal_number = self._world.largest(mine)
        return bool(save), signal_number

    def _save(self, settings: CheckpointSettings, *, is_kept: bool = False) -> None:
        folder = CheckpointFolder(settings.folder)
        so_far = merge_parts(self._world.gather(self._state.so_far.to_tensors()))
        self._saved_at = time.perf_counter()
        if not self._world.is_main:
            return
        name = folder.next_name(self._state.step)
        if is_kept:
            self._state.kept_checkpoint = name
        self._on_event(Progress("checkpoint", 0, 1, "checkpoints"))
        content = capture(self._classifier, self._optimizer, self._state, so_far, self._extent)
        folder.save(content, name, best=self._state.kept_checkpoint)
        self._on_event(Progress("checkpoint", 1, 1, "checkpoints"))

    def _is_due(self, settings: CheckpointSettings) -> bool:
        if settings.every_steps is not None and self._state.step % settings.every_steps == 0:
            return True
        minutes = (time.perf_counter() - self._saved_at) / 60
        return settings.every_minutes is not None and minutes >= settings.every_minutes


def last_checkpoint(
    checkpoints: CheckpointSettings | None, world: World, on_event: EventCallback
) -> Checkpoint | None:
    """Return what all processes go on from, or None.

    Raises:
        RunError: they do not see the same checkpoints.
    """
    if checkpoints is None:
        return None
    folder = CheckpointFolder(checkpoints.folder)
    found = folder.load_and_mend(on_event) if world.is_main else None
    world.wait()  # the main process has removed what is damaged
    if not world.is_main:
        found = folder.load()
    names = world.gather(found.name if found else "none")
    if len(set(names)) > 1:
        raise RunError(
            f"{checkpoints.folder}: processes see different checkpoints: " + ", ".join(names),
            expected="one folder that all processes see",
            remedy="--output-dir on a file system that all machines share",
        )
    return found


def check_room_for_checkpoints(prepared: PreparedTraining, folder: Path) -> None:
    """Check that the disk has room for the checkpoints that a run keeps, before it trains.

    Args:
        prepared: not frozen or cut by training yet.
        folder: of the run.

    Raises:
        RunError: there is too little room.
    """
    if prepared.settings.learns.kind == "probe":
        return
    # The latest, their two best ones and the one being written, of at most one an epoch and the
    # latest: each weights in fp32 and AdamW's two moments.
    num_kept = min(NUM_LATEST + 3, prepared.settings.num_epochs + NUM_LATEST)
    num_bytes = _num_trained(prepared) * 4 * 3 * num_kept
    free = shutil.disk_usage(folder).free
    free += sum(path.stat().st_size for path in folder.rglob("*.safetensors") if path.is_file())
    if num_bytes > free:
        raise RunError(
            f"--output-dir {folder}: checkpoints of {num_bytes / 1e9:.1f} GB do not fit, "
            f"{free / 1e9:.1f} GB are free",
            expected=f"room for {num_kept} checkpoints, of which two to five are kept",
            remedy="make room, another --output-dir, or --checkpoint-minutes 0 to save none",
        )


def _num_trained(prepared: PreparedTraining) -> int:
    """Return how many weights training changes; of the embeddings, the rows of tokens that occur.

    With `depth="auto"`, still of all blocks.
    """
    classifier, learns = prepared.loaded.classifier, prepared.settings.learns
    if learns.kind == "lora":
        return num_learning_weights(classifier, prepared.settings.lora_rank)
    if learns.num_blocks is not None:
        with frozen_but_last(classifier, learns.num_blocks):
            return sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    total = sum(p.numel() for p in classifier.parameters())
    table: Any = classifier.hf_model.get_input_embeddings()
    if prepared.settings.weight_decay > 0 or not isinstance(table, nn.Embedding):
        return total
    texts = (prepared.training.texts, prepared.validating.texts)
    num_seen = len(np.unique(np.concatenate([part.token_ids for part in texts])))
    return total - max(0, table.num_embeddings - num_seen) * table.embedding_dim

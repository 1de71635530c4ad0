"""The processes that share a run: one, or several started by `accelerate launch` or `torchrun`.

    process 0: examples 0, 2, 4 ... of each batch     writes the run folder, prints
    process 1: examples 1, 3, 5 ...                   the same weights, nothing else

With one process every method answers at once, so the loop needs no other case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, gather_object

from lasttoken.errors import ConfigError
from lasttoken.launch import refuse_sharding, sharding_error, world_size

ValueT = TypeVar("ValueT")

_SUPPORTED = {
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
}


class World:
    """All processes of a run, as one of them sees them.

    Args:
        accelerator: of this process.

    Attributes:
        size: W, how many there are.
        rank: of this one, 0 to W - 1.
        is_main: whether this one writes and prints.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.size: int = accelerator.num_processes
        self.rank: int = accelerator.process_index
        self.is_main: bool = accelerator.is_main_process

    def total(self, number: int) -> int:
        """Return the sum of every process's number."""
        if self.size == 1:
            return number
        mine = torch.tensor(number, dtype=torch.int64, device=self._accelerator.device)
        return int(self._accelerator.reduce(mine, reduction="sum"))

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Return the largest of every process's numbers, place by place."""
        if self.size == 1:
            return list(numbers)
        mine = torch.tensor(list(numbers), dtype=torch.int64, device=self._accelerator.device)
        torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX)
        largest: list[int] = mine.tolist()
        return largest

    def gather(self, value: ValueT) -> list[ValueT]:
        """Return every process's value, in the order of their ranks."""
        if self.size == 1:
            return [value]
        everyone: list[ValueT] = gather_object([value])
        return everyone

    def wait(self) -> None:
        """Wait until every process is here."""
        self._accelerator.wait_for_everyone()


def plain_accelerator(device: torch.device | None = None) -> Accelerator:
    """Return an Accelerator that leaves device and precision to us.

    Args:
        device: that computes; decides how several processes talk to each other. None is whatever
            the Accelerator finds.

    Raises:
        ConfigError: it was launched to shard or offload the model, which this version does not do;
            or launched processes do not find each other.
    """
    refuse_sharding()
    accelerator = Accelerator(
        # Only then does it let processes talk by gloo, and only launched ones must.
        cpu=world_size() > 1 and device is not None and device.type == "cpu",
        device_placement=False,
        mixed_precision="no",
        gradient_accumulation_steps=1,
        # Our buffers are the same everywhere and never change.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if accelerator.distributed_type not in _SUPPORTED:
        raise sharding_error(accelerator.distributed_type.value)
    if accelerator.num_processes != world_size():
        raise ConfigError(
            f"{world_size()} processes were launched, this one sees {accelerator.num_processes}",
            expected="processes that see each other",
            remedy="torchrun --nproc-per-node N -m lasttoken train ..., or --device cpu",
        )
    return accelerator

"""Which of several processes this is, when `accelerate launch` or `torchrun` started them."""

from __future__ import annotations

import os

from lasttoken.errors import ConfigError


def world_size() -> int:
    """Return how many processes were launched together, 1 for a process on its own.

    Both launchers set `LOCAL_RANK` and `WORLD_SIZE`; a cluster's own `RANK`, without the former, is
    about something else.
    """
    if "LOCAL_RANK" not in os.environ:
        return 1
    return max(1, _number("WORLD_SIZE", 1))


def process_rank() -> int:
    """Return this process's number among them, 0 for the main one."""
    return _number("RANK", 0) if world_size() > 1 else 0


def refuse_sharding() -> None:
    """Refuse what `accelerate launch` was told about sharding the model.

    Where processes compute on CPUs, accelerate itself would say nothing and leave it out.

    Raises:
        ConfigError: the model is to be sharded or offloaded, which this version does not do.
    """
    for name, variable in (
        ("FSDP", "ACCELERATE_USE_FSDP"),
        ("DEEPSPEED", "ACCELERATE_USE_DEEPSPEED"),
        ("MEGATRON_LM", "ACCELERATE_USE_MEGATRON_LM"),
    ):
        if os.environ.get(variable, "").lower() in ("1", "true", "yes"):
            raise sharding_error(name)


def sharding_error(how: str) -> ConfigError:
    """Return the error for processes of which none holds the whole model."""
    return ConfigError(
        f"launched as {how}",
        expected="one process, or several that hold the whole model each (DDP)",
        remedy="torchrun --nproc-per-node N -m lasttoken train ...",
    )


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default

"""Which of several processes this is, when `accelerate launch` or `torchrun` started them."""

from __future__ import annotations

import os


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


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default

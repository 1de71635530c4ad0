"""Which device computes, and how precisely."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch

from lasttoken.errors import ConfigError

Precision = Literal["fp32", "bf16"]


def resolve_device(name: str) -> torch.device:
    """Turn "auto", "cpu", "cuda:1" ... into a device that is there.

    Raises:
        ConfigError: torch does not know the name or the device is not present.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"--device {name}: {str(error).splitlines()[0]}",
            expected="auto, cpu, or a device that torch finds on this machine",
            remedy="--device auto",
        ) from error
    return device


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Choose bf16 where the device multiplies it natively, else fp32.

    Source:
        AVX512_BF16 or AMX on a CPU; without them bf16 is more than 2x slower than fp32 there
        (pytorch #86270). CUDA says so itself.

    Raises:
        ConfigError: the name is not "auto", "fp32" or "bf16".
    """
    if name == "fp32" or name == "bf16":
        return "fp32" if name == "fp32" else "bf16"
    if name != "auto":
        raise ConfigError(
            f"precision {name!r} is unknown",
            expected='"auto", "fp32" or "bf16"',
            remedy='precision="auto"',
        )
    native: dict[str, Callable[[], bool]] = {
        "cpu": lambda: torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
    }
    return "bf16" if device.type in native and native[device.type]() else "fp32"


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let the C library keep the memory that tensors give back, for the tensors that come next.

    Else it returns large blocks to the system at once, which hands them out again page by page,
    zeroed: one part in twenty of a training step on a CPU (docs/log.md). The process keeps
    its largest size until it ends; that size itself does not grow.

    Returns:
        Whether it was done: there is a switch in glibc (Linux), elsewhere nothing is changed.

    Source:
        `mallopt(3)`: M_MMAP_MAX 0 takes large blocks from the heap, M_TRIM_THRESHOLD keeps its top.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    trim_threshold, mmap_max = -1, -4  # names of malloc.h
    return bool(library.mallopt(mmap_max, 0) and library.mallopt(trim_threshold, 2**31 - 1))


def bound_kernel_caches() -> None:
    """Let oneDNN, and torch in front of it, keep 32 kernels each instead of 1,024.

    A kernel is compiled for every number of rows that is multiplied, and every batch has another:
    from 4,000 to 40,000 texts the two caches made memory larger by a fifth (docs/log.md). 32 are
    those of the last few batches, which all blocks of a model use again. No effect once a
    product was computed, or where the user has set these variables; results do not depend on it.

    Source:
        oneDNN, "Primitive Cache", `ONEDNN_PRIMITIVE_CACHE_CAPACITY`; torch's ideep reads
        `LRU_CACHE_CAPACITY`. Both read the environment once.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrices are multiplied in `precision`; weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

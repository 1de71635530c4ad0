"""Which device computes, and how precisely."""

from __future__ import annotations

from collections.abc import Callable
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


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrices are multiplied in `precision`; weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

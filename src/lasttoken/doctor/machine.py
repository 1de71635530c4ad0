"""What this machine has: devices, versions, caches, and whether the Hub can be reached."""

from __future__ import annotations

import os
from pathlib import Path

from lasttoken.data.hub import HUB_TIMEOUT_SECONDS, ask_briefly
from lasttoken.data.samples import cache_folder
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.versions import machine, package_versions


def machine_facts() -> dict[str, str]:
    """Return name to what a person should know; asks the Hub once, for up to three seconds."""
    versions, here = package_versions(), machine()
    return {
        "lasttoken": f"{versions.pop('lasttoken')}, Python {versions.pop('python')}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "system": str(here["system"]),
        "processor": f"{here['processor'] or 'unknown'}, {here['cores']} cores, {here['threads']} "
        f"threads, {here['cpu_capability']}",
        "devices": ", ".join(_devices()),
        "computes": _computes(),
        "Hub cache": _hub_cache(),
        "lasttoken cache": _folder(cache_folder()),
        "Hub": hub_state(),
    }


def _devices() -> list[str]:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    found = []
    for number in range(torch.accelerator.device_count()):
        name = f"{accelerator.type}:{number}"
        if accelerator.type == "cuda":
            properties = torch.cuda.get_device_properties(number)
            name += f" ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
        found.append(name)
    return ["cpu", *found]


def _computes() -> str:
    device = resolve_device("auto")
    return f"{resolve_precision('auto', device)} on {device}, if nothing else is asked for"


def _hub_cache() -> str:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    models, sets = (
        len(list(cache.glob(f"{kind}--*"))) if cache.is_dir() else 0
        for kind in ("models", "datasets")
    )
    return f"{cache}: {models} models, {sets} data sets"


def _folder(path: Path) -> str:
    if not path.is_dir():
        return f"{path}: empty"
    files = [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return f"{path}: {len(files)} files, {size / 1e6:,.0f} MB"


def hub_state() -> str:
    """Return whether the Hub can be reached, and whether a token is there; never the token."""
    from huggingface_hub import constants, get_session, get_token

    token = "a token is there" if get_token() else "no token"
    if constants.HF_HUB_OFFLINE:
        return f"not asked: HF_HUB_OFFLINE is {os.environ.get('HF_HUB_OFFLINE', 'set')}; {token}"

    def question() -> None:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_SECONDS)

    fault = ask_briefly(question)
    if fault is None:
        return f"{constants.ENDPOINT} answers; {token}"
    reason = (str(fault) or type(fault).__name__).splitlines()[0]
    return f"{constants.ENDPOINT} cannot be reached ({reason}); {token}"

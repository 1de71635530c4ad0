"""Quiet libraries and the number of threads, alike for all peers that compute with torch."""

from __future__ import annotations

from typing import Any


def prepare(job: dict[str, Any]) -> None:
    """Set threads and seed; silence progress bars and advice, which cost time."""
    import torch
    import transformers

    torch.set_num_threads(job["threads"])
    torch.manual_seed(job.get("seed", 123))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

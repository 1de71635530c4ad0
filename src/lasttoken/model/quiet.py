"""Silence what transformers prints while it loads, and only that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _DropLoadReport(logging.Filter):
    """Drop the table of missing and unexpected weights: `backbone` judges them itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bars and its loading report inside the block."""
    from transformers import modeling_gguf_pytorch_utils
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers.modeling_utils")
    report = _DropLoadReport()
    bars_shown = transformers_logging.is_progress_bar_enabled()
    logger.addFilter(report)
    transformers_logging.disable_progress_bar()
    # The reader of GGUF takes its bar from tqdm itself, past that switch: give it the one behind.
    gguf_reader: Any = modeling_gguf_pytorch_utils
    own_bar, gguf_reader.tqdm = gguf_reader.tqdm, transformers_logging.tqdm
    try:
        yield
    finally:
        gguf_reader.tqdm = own_bar
        logger.removeFilter(report)
        if bars_shown:
            transformers_logging.enable_progress_bar()

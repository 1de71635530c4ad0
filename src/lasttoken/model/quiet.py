"""Silence what transformers prints while it loads, and only that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _DropLoadReport(logging.Filter):
    """Drop the table of missing and unexpected weights: `backbone` judges them itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bars and its loading report inside the block."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers.modeling_utils")
    report = _DropLoadReport()
    bars_shown = transformers_logging.is_progress_bar_enabled()
    logger.addFilter(report)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.removeFilter(report)
        if bars_shown:
            transformers_logging.enable_progress_bar()

"""A run or an exported model: whichever a folder holds, opened to answer."""

from __future__ import annotations

from lasttoken.model.location import is_exported
from lasttoken.runs.row_classifier import OpenModel


def opener_of(folder: str) -> OpenModel:
    """Return what opens a folder; torch is imported for a run alone."""
    if is_exported(folder):
        from lasttoken.deploy.light.opening import open_export

        return open_export
    from lasttoken.runs.opening import open_run

    return open_run

"""Standard output as a place that may be closed, full, or no longer read."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Iterator

from lasttoken.errors import RunError


def check_standard_output() -> None:
    """Check that standard output is there: Python has none where the shell closed it (`>&-`).

    Raises:
        RunError: it is closed. Told before any work, because the next file that is opened would
            take its place.
    """
    if getattr(sys, "stdout", None) is None:
        raise _cannot_print("closed")


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Turn a failure to print in this block, to the last byte, into the three lines.

    Raises:
        RunError: standard output cannot be written.
        BrokenPipeError: whoever read it has heard enough, which is no fault.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_standard_output()
        raise _cannot_print(error.strerror or str(error)) from error


def drop_standard_output() -> None:
    """Send nowhere what is still to be printed, and what Python holds back until it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # it has no number, is closed, or not there
        sys.stdout = io.StringIO()
    finally:
        os.close(nowhere)


def settle_standard_output() -> None:
    """Drop standard output if it cannot be written, so that Python's end is quiet about it."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # full or unread, closed, not there at all
        drop_standard_output()


def _cannot_print(reason: str) -> RunError:
    return RunError(
        f"standard output: {reason}",
        expected="an output that can be written, with room left",
        remedy="make room, or send it elsewhere: > FILE, or > /dev/null",
    )


def spelled_out(text: str) -> str:
    r"""Return text whose control characters are spelled out, such as \x1b; line breaks stay.

    Labels and names come from the data: one could color the terminal, or give it commands.
    """
    return "".join(
        ascii(character)[1:-1]
        if character != "\n" and unicodedata.category(character) == "Cc"
        else character
        for character in text
    )

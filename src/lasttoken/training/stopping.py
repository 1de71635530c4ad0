"""Asked to stop: Ctrl-C and SIGTERM while a run can be saved.

The first signal is noted, and training saves and ends behind the step at hand. A second Ctrl-C
ends the process at once; what was saved before stays whole.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lasttoken.errors import StoppedError


class StopRequest:
    """Whether, and by which signal, the process was asked to stop.

    Attributes:
        signal_number: of the first signal; None while nobody asked.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    @staticmethod
    def stop_by(signal_number: int) -> None:
        """Stop here if the number is not 0.

        Raises:
            StoppedError: it is not.
        """
        if signal_number:
            raise StoppedError(signal_number)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Inside the block, note Ctrl-C and SIGTERM instead of ending at once.

    Only the main thread of a process may handle signals; in another, nothing is ever noted. The
    handler says nothing: it may have come amid a write to the very stream that it would use.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if request.signal_number is not None and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        request.signal_number = request.signal_number or number

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
        yield request
    finally:
        for noted, handler in before.items():
            signal.signal(noted, handler)

"""Every exception the package raises for a reason the user can mend.

    LastTokenError
    ├── ConfigError      a setting is unknown, out of range, or at odds with another
    ├── DatasetError     a file, column, label or encoding is not as described
    ├── BatchError       examples cannot form a batch
    ├── BackboneError    a model cannot be found, loaded or used as a decoder
    └── RunError         an output folder is occupied, at work or not a run

All but `RunError` are `ValueError`s too; `StoppedError` stands outside, because a signal is no
mistake. Each carries three lines:

    try:
        clf = TextClassifier("gpt3").fit(texts, labels)
    except LastTokenError as error:
        error.found      # what was found, and where
        error.expected   # what was expected
        error.remedy     # what to type next
"""

from __future__ import annotations


class LastTokenError(Exception):
    """Base of all errors the user can mend; its text is the three lines.

    Args:
        found: what was found, and where (file, row, column, value).
        expected: what was expected instead.
        remedy: what to type or change next.
    """

    def __init__(self, found: str, *, expected: str, remedy: str) -> None:
        super().__init__(found, expected, remedy)
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the three lines: found, expected, remedy."""
        return f"{self.found}\nexpected: {self.expected}\ntry: {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with all three lines (worker processes send exceptions home)."""
        return (_rebuild, (type(self), self.found, self.expected, self.remedy))


def _rebuild(cls: type[LastTokenError], found: str, expected: str, remedy: str) -> LastTokenError:
    return cls(found, expected=expected, remedy=remedy)


class ConfigError(LastTokenError, ValueError):
    """A setting is unknown, out of range, or at odds with another."""


class DatasetError(LastTokenError, ValueError):
    """A file, column, label or encoding is not as described."""


class BatchError(LastTokenError, ValueError):
    """Examples cannot form a batch."""


class BackboneError(LastTokenError, ValueError):
    """A model cannot be found, loaded or used as a decoder."""


class RunError(LastTokenError):
    """An output folder is occupied, at work or not a run."""


class TerminatedError(BaseException):
    """SIGTERM came: to a process what Ctrl-C (`KeyboardInterrupt`) is to a person."""


class StoppedError(Exception):
    """Work ended early because a signal asked for it; what was done is saved.

    Args:
        signal_number: of the signal, such as `signal.SIGTERM`.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

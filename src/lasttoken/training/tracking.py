"""An experiment tracker that hears what training tells: settings, epochs, final scores; no texts.

Off unless asked for. Trackers are accelerate's, each a package of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lasttoken.errors import ConfigError
from lasttoken.events import EpochEnd, Event, EventCallback, Note, Resumed
from lasttoken.training.world import plain_accelerator


def check_tracker(name: str | None) -> None:
    """Check that a tracker is known and installed, before anything slow.

    Raises:
        ConfigError: it is not.
    """
    if name is None:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    known = sorted(map(str, LOGGER_TYPE_TO_CLASS))
    if name not in known:
        raise ConfigError(
            f"--tracker {name}: no such tracker",
            expected="one of " + ", ".join(known),
            remedy="--tracker tensorboard, or none",
        )
    installed = sorted(str(getattr(each, "value", each)) for each in get_available_trackers())
    # A class that a program has registered with accelerate is there.
    if name in LoggerType and name not in installed:
        raise ConfigError(
            f"--tracker {name}: not installed",
            expected="an installed one: " + (", ".join(installed) or "there is none"),
            remedy=f"pip install {name.replace('_', '-')}",
        )


class Tracking:
    """Pass events on, and tell the tracker what can be drawn.

    A tracker that fails in the middle is told once and not called again: a run must not be lost for
    its picture.

    Args:
        on_event: gets every event.
        name: of the tracker.
        tracker: accelerate's, started.
    """

    def __init__(self, on_event: EventCallback, name: str, tracker: Any) -> None:  # noqa: ANN401
        self._on_event = on_event
        self._name = name
        self._tracker = tracker
        self._last_step = 0

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Resumed):
            self._last_step = event.step
        elif isinstance(event, EpochEnd):
            row = dataclasses.asdict(event)
            self._last_step = event.step
            self.log({key: value for key, value in row.items() if key not in ("step", "is_kept")})
        self._on_event(event)

    def log(self, values: Mapping[str, Any]) -> None:
        """Tell numbers at the last step; anything else is left out."""
        numbers = {
            key: value
            for key, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._call("log", numbers, step=self._last_step)

    def finish(self) -> None:
        """Let the tracker write what it holds back."""
        self._call("finish")

    def _call(self, method: str, *values: Any, **named: Any) -> None:  # noqa: ANN401
        if self._tracker is None:
            return
        try:
            getattr(self._tracker, method)(*values, **named)
        except Exception as error:  # whatever a tracker raises; it is told, and training goes on
            self._tracker = None
            self._on_event(
                Note(f"tracker {self._name}: {_reason(error)}; it hears no more", is_warning=True)
            )


class Untracked:
    """Pass events on, and nothing else: without a tracker.

    Args:
        on_event: gets every event.
    """

    def __init__(self, on_event: EventCallback) -> None:
        self._on_event = on_event

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._on_event(event)

    def log(self, values: Mapping[str, Any]) -> None:
        """Tell nobody."""


@contextmanager
def tracked(
    name: str | None,
    on_event: EventCallback,
    *,
    folder: Path,
    run_name: str,
    settings: Mapping[str, Any],
    device: torch.device,
) -> Iterator[Tracking | Untracked]:
    """Start a tracker, and finish it at the end; call it in the main process alone.

    Args:
        name: of the tracker; None is none.
        on_event: gets every event.
        folder: for trackers that keep files.
        run_name: under which it shows the run.
        settings: of the run.
        device: that will compute.

    Raises:
        ConfigError: it cannot be started: no account, no server, no right to write.
    """
    if name is None:
        yield Untracked(on_event)
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    plain_accelerator(device)  # trackers ask it which process they are in
    kind = LOGGER_TYPE_TO_CLASS[name]
    try:
        places = [str(folder)] if kind.requires_logging_directory else []
        tracker = kind(run_name, *places)
        tracker.start()
        tracker.store_init_configuration(
            {
                key: value if isinstance(value, bool | int | float | str) else str(value)
                for key, value in settings.items()
            }
        )
    except Exception as error:  # whatever a tracker raises
        raise ConfigError(
            f"--tracker {name}: {_reason(error)}",
            expected="a tracker that starts: logged in, its server there, room to write",
            remedy=f"mend that, as {name} tells; or leave --tracker out",
        ) from error
    tracking = Tracking(on_event, name, tracker)
    try:
        yield tracking
    finally:
        tracking.finish()


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

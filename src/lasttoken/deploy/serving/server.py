"""The life of the server: open, load, serve, drain, end.

SIGTERM or Ctrl-C: readiness is 503 at once, and so is any new request; what was accepted is
answered; then the process ends with 0, at the latest when the time of grace is over. A second
signal ends it at once. If the model's thread dies, the process ends with 1, so that whoever
watches it starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from lasttoken.config.serving import ServeConfig
from lasttoken.deploy.opening import opener_of
from lasttoken.deploy.serving.app import create_app
from lasttoken.deploy.serving.connection import BoundedProtocol
from lasttoken.deploy.serving.limits import CHARACTERS_PER_TOKEN, Limits
from lasttoken.deploy.serving.model import ServedModel
from lasttoken.deploy.serving.opening import (
    address_of,
    bind,
    is_open_to_others,
    name_of_model,
    open_access,
)
from lasttoken.deploy.serving.service import Service
from lasttoken.events import EventCallback, Note

_TICK = 0.05  # seconds between two looks at whether the model is ready, or dead
_CLOSING_SECONDS = 2  # for responses that are on their way when everything is answered


def run_server(config: ServeConfig, *, on_event: EventCallback) -> int:
    """Serve until a signal ends it; return the exit code.

    Args:
        config: as `settle_model` returns it.
        on_event: told where it serves, and of faults.

    Raises:
        LastTokenError: the run, the address or the key is not as described.
    """
    access = open_access(config.host, config.api_key_file)
    if config.api_key_file is not None and is_open_to_others(config.api_key_file):
        text = (
            f"--api-key-file {config.api_key_file}: other users of this machine may read it; "
            f"chmod 600 {config.api_key_file}"
        )
        on_event(Note(text, is_warning=True))
    with contextlib.closing(bind(config.host, config.port)) as listener:
        opened = opener_of(config.run)(config, on_event)
        model = ServedModel(opened, name=name_of_model(config.run))
        service = Service(model, limits_of(config, model), on_event=on_event)
        app = create_app(service, access, on_event=on_event)
        code = asyncio.run(_serve(service, app, listener, on_event))
    if service.is_computing:  # for nobody; Python would abort at its end while torch computes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def limits_of(config: ServeConfig, model: ServedModel) -> Limits:
    """Return the limits that the settings ask for."""
    return Limits(
        max_body_bytes=config.max_body_bytes,
        max_texts=config.max_texts,
        max_bytes_at_hand=max(Limits.max_bytes_at_hand, config.max_body_bytes),
        max_characters=config.max_characters or CHARACTERS_PER_TOKEN * model.max_length,
        max_waiting=config.max_waiting,
        request_seconds=config.request_seconds,
        grace_seconds=config.grace_seconds,
    )


async def _serve(
    service: Service,
    app: ASGIApp,
    listener: socket.socket,
    on_event: EventCallback,
) -> int:
    server = _Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,  # its messages name paths, which clients choose
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_CLOSING_SECONDS,
        )
    )
    with _set_aside_from_collection(), _signals() as (ending, hurrying):
        service.start()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _live(service, server, serving, ending, address_of(listener), on_event)
            if service.is_alive and not serving.done():
                on_event(Note("ending: no new requests are taken, accepted ones are finished"))
            service.close()
            is_finished = await _drain(service, hurrying)
            service.given_up.set()
        finally:
            is_alive = service.is_alive
            server.should_exit = True
            server.force_exit = hurrying.is_set()
            await serving
            service.stop()
    if not is_finished:
        on_event(Note("the time of grace is over: some requests got no answer", is_warning=True))
    return 0 if is_alive and is_finished else 1


async def _live(
    service: Service,
    server: uvicorn.Server,
    serving: asyncio.Task[None],
    ending: asyncio.Event,
    address: str,
    on_event: EventCallback,
) -> None:
    """Return when a signal came, or when there is nothing left that could answer."""
    is_told = False
    while service.is_alive and not ending.is_set() and not serving.done():
        if server.started and service.unready is None and not is_told:
            is_told = True
            on_event(Note(f"serving at http://{address}/ (a page) and /classify; Ctrl-C ends it"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), 20 * _TICK if is_told else _TICK)


async def _drain(service: Service, hurrying: asyncio.Event) -> bool:
    """Return whether everything that was accepted got its answer in time."""
    seconds = max(0.0, service.limits.grace_seconds - _CLOSING_SECONDS)
    finishing = asyncio.create_task(service.finish(seconds))
    hurry = asyncio.create_task(hurrying.wait())
    await asyncio.wait((finishing, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if finishing.done():
        return finishing.result()
    finishing.cancel()
    return False


@contextlib.contextmanager
def _set_aside_from_collection() -> Iterator[None]:
    """Let Python's garbage collector pass over all that is loaded by now.

    There are half a million objects of libraries, which stay anyway. A full collection of them
    takes a quarter of a second, in which no thread goes on.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Give an event that the first signal sets, and one that the second sets."""
    loop = asyncio.get_running_loop()
    ending, hurrying = asyncio.Event(), asyncio.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        event = hurrying if ending.is_set() else ending
        loop.call_soon_threadsafe(event.set)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield ending, hurrying
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    """Uvicorn's server, which leaves signals to us: it would close the door at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

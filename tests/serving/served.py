"""Servers of tiny real models, in this process, without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from lasttoken import TextClassifier
from lasttoken.deploy.serving.access import Access
from lasttoken.deploy.serving.app import create_app
from lasttoken.deploy.serving.limits import Limits
from lasttoken.deploy.serving.model import ServedModel
from lasttoken.deploy.serving.service import Service
from lasttoken.events import Event
from lasttoken.runs.opening import open_classifier
from lasttoken.runs.row_classifier import OpenedModel

TEXTS = [
    "a wonderful film, number 3", "a dreadful film", "", "x", "what a film " * 20, "emoji 😀 and é",
    "ends in the marker<|endoftext|>", "NUL \x00 inside", "\u202eturned around", "a b " * 400,
]  # fmt: skip
LOCAL = {"host": "localhost"}
POISON = "^"  # one token of the byte tokenizer


def load(run: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(run, precision="fp32", device="cpu")


def spoil(classifier: TextClassifier, how: Callable[[], None] | float) -> None:
    """Let the real model fail on batches that hold `POISON`: call `how`, or answer with it.

    Rows of other texts in the batch are left as they are.
    """
    model = classifier.loaded_.classifier
    token = classifier.loaded_.tokenizer(POISON)["input_ids"][0]

    def before(_module: Any, _words: Any, inputs: dict[str, Any]) -> None:
        if callable(how) and (inputs["input_ids"] == token).any():
            how()

    def after(_module: Any, _words: Any, inputs: dict[str, Any], output: Any) -> None:
        if not callable(how):
            starts = inputs["cu_seqlens"].tolist()
            for row, (start, stop) in enumerate(itertools.pairwise(starts)):
                if (inputs["input_ids"][0, start:stop] == token).any():
                    output.logits[row] = how

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.register_forward_hook(after, with_kwargs=True)


class Hold:
    """Holds a real model back in its forward pass, until it is let go; tells how often it came."""

    def __init__(self, classifier: TextClassifier) -> None:
        self.is_free = threading.Event()
        self.is_free.set()
        self.batches: list[int] = []
        classifier.loaded_.classifier.register_forward_pre_hook(self._wait, with_kwargs=True)

    def _wait(self, _module: Any, _words: Any, inputs: dict[str, Any]) -> None:
        self.batches.append(len(inputs["cu_seqlens"]) - 1)
        assert self.is_free.wait(60)


def served(model: TextClassifier | OpenedModel) -> ServedModel:
    opened = model if isinstance(model, OpenedModel) else open_classifier(model)
    return ServedModel(opened, name="tiny")


@contextlib.contextmanager
def serving(
    model: TextClassifier | OpenedModel,
    *,
    is_started: bool = True,
    recheck: float = 0.05,
    **limits: Any,
) -> Iterator[tuple[Service, list[Event]]]:
    """Yield a service that is ready, and what it tells."""
    events: list[Event] = []
    service = Service(served(model), Limits(**limits), on_event=events.append)
    service.batcher._recheck_seconds = recheck
    if is_started:
        service.start()
        wait_until(lambda: service.unready is None)
    try:
        yield service, events
    finally:
        if is_started:
            service.stop()


@contextlib.asynccontextmanager
async def asking(
    service: Service, events: list[Event], access: Access | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service's application."""
    app = create_app(service, access or Access(None, loopback_only=True), on_event=events.append)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def ask(
    model: TextClassifier | OpenedModel,
    talk: Callable[[httpx.AsyncClient], Awaitable[Any]],
    *,
    access: Access | None = None,
    **limits: Any,
) -> Any:
    """Run a conversation with a server, and return what it returns."""

    async def run() -> Any:
        with serving(model, **limits) as (service, events):
            async with asking(service, events, access) as client:
                return await talk(client)

    return asyncio.run(run())


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    late = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < late, "waited in vain"
        time.sleep(0.005)


async def soon(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    late = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < late, "waited in vain"
        await asyncio.sleep(0.005)

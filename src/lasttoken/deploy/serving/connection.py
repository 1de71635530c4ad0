"""One connection: uvicorn's, with an end to every wait and no more than its share of the loop.

head       must be whole within `HEAD_SECONDS`
body       is read in small parts; what takes long to parse rests before its next part
refusal    of a request whose body still comes: what comes is dropped unread for
           `LINGER_SECONDS`, or the client would lose the refusal with the connection
answer     must be taken by its client within `TAKE_SECONDS`
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lasttoken.deploy.serving.limits import (
    DROP_BYTES,
    HEAD_SECONDS,
    LINGER_SECONDS,
    LONG_PART_SECONDS,
    MOST_REST_SECONDS,
    READ_BYTES,
    REST_PER_SECOND,
    TAKE_SECONDS,
)


class BoundedProtocol(H11Protocol):
    """A connection that can neither wait for ever nor keep the loop from the others."""

    # The loop is one for all connections of the process, and so is the share of it that parts which
    # take long may have together: when the next of them may be read, by the loop's clock.
    _rested_at: ClassVar[float] = 0.0

    _head_timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None
    _take_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        lingering = _LingeringTransport(transport, self)
        lingering.read_at_most(READ_BYTES)
        super().connection_made(lingering)  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take data; wait on, if they are no request yet."""
        if self.transport.is_closing():
            return
        started = time.thread_time()
        super().data_received(data)
        seconds = time.thread_time() - started
        if seconds > LONG_PART_SECONDS and not self.transport.is_closing():
            self._rest(seconds * REST_PER_SECOND)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._rest_timer, self._take_timer):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """Wait until the client takes what it was answered, but not for ever."""
        super().pause_writing()
        self._take_timer = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has taken it."""
        super().resume_writing()
        if self._take_timer is not None:
            self._take_timer.cancel()

    @property
    def is_receiving(self) -> bool:
        """Return whether the client may still be sending a request, or what is none."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def _rest(self, seconds: float) -> None:
        now = self.loop.time()
        rested_at = max(now, BoundedProtocol._rested_at) + seconds
        BoundedProtocol._rested_at = min(rested_at, now + MOST_REST_SECONDS)
        self.transport.pause_reading()
        self._rest_timer = self.loop.call_at(BoundedProtocol._rested_at, self._go_on)

    def _go_on(self) -> None:
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _watch(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


class _LingeringTransport:
    """A transport that is closed in two steps while its client still sends.

    A socket that is closed with unread bytes resets the connection, and a client that meets with
    this may never see the response (RFC 9112, 9.6). So first only our own direction ends.

    Args:
        transport: the real one.
        protocol: of this connection.
    """

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol = transport, protocol
        self._is_lingering = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real one has
        return getattr(self._transport, name)

    def read_at_most(self, num_bytes: int) -> None:
        """Read so many bytes at a time, where that can be said: asyncio's own loops on POSIX."""
        if hasattr(self._transport, "max_size"):
            self._transport.max_size = num_bytes

    def is_closing(self) -> bool:
        """Return whether nothing is written any more."""
        return self._is_lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close, at once or when the client has ended too; asked again, at once."""
        if self.is_closing() or not self._protocol.is_receiving:
            self._transport.close()
            if self._transport.get_write_buffer_size():  # and as long it stays open
                self._protocol.loop.call_later(TAKE_SECONDS, self._transport.abort)
            return
        self._is_lingering = True
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection
            self._transport.close()
            return
        self.read_at_most(DROP_BYTES)
        self._transport.resume_reading()
        self._protocol.loop.call_later(LINGER_SECONDS, self._transport.abort)

"""A request's body: read as far as the limits go, checked before anything is made of it.

The order is that of cost: head, bytes (while they come), JSON, numbers of texts and characters.
All of it runs between other requests, so nothing may take more than time in proportion to the
bytes: pydantic's own JSON parser refuses deep nesting (200 levels) at once, and the first text that
is none ends the checking. Nothing here repeats what the body holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request

from lasttoken.deploy.serving.limits import Limits
from lasttoken.deploy.serving.model import ServedModel
from lasttoken.deploy.serving.refusal import RequestError, departed, overloaded
from lasttoken.deploy.serving.shapes import (
    ClassifyPairsRequest,
    ClassifyRequest,
    request_model,
)

# A body with more faults is told their number alone: to list them takes longer than to find them.
_MOST_FAULTS = 16

_EXAMPLE = '{"texts": ["..."]}'

# A connection whose request is refused half way is closed: its rest is not waited for.
_CLOSE = {"Connection": "close"}


class Intake:
    """The bytes of all bodies at hand, from their first to the answer of their request.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.num_bytes = 0
        self._most = most

    @contextmanager
    def portion(self) -> Iterator[Callable[[int], None]]:
        """Give what counts the bytes of one request, as long as the block lasts.

        Raises:
            RequestError: by what is given, when there are too many (429).
        """
        counted = 0

        def count(num_bytes: int) -> None:
            nonlocal counted
            if self.num_bytes + num_bytes > self._most:
                found = f"{self.num_bytes:,} bytes wait already, of at most {self._most:,}"
                raise overloaded(found, 1, headers=_CLOSE)
            counted += num_bytes
            self.num_bytes += num_bytes

        try:
            yield count
        finally:
            self.num_bytes -= counted


async def read_body(request: Request, limits: Limits, count: Callable[[int], None]) -> bytearray:
    """Return a body.

    Args:
        request: whose body nobody has read.
        limits: see `Limits`.
        count: called with the bytes of each part; see `Intake.portion`.

    Raises:
        RequestError: it is no JSON by its head (415), too large (413), or too slow (408); or
            there are too many bytes at hand (429).
    """
    _check_head(request, limits)
    body = (
        bytearray()
    )  # of parts, each a byte in a chunk of its own, would take forty times as much
    try:
        async with asyncio.timeout(limits.request_seconds):
            async for part in request.stream():
                if len(body) + len(part) > limits.max_body_bytes:
                    raise _too_large(f"more than {limits.max_body_bytes:,} bytes", limits)
                count(len(part))
                body += part
    except TimeoutError:
        raise RequestError(
            408,
            "slow_body",
            f"a body that is not complete after {limits.request_seconds:g} s",
            expected="all of it by then",
            remedy="send it again, at once",
            headers=_CLOSE,
        ) from None
    except ClientDisconnect:
        raise departed() from None
    return body


def parse_body(body: bytes | bytearray, limits: Limits, model: ServedModel) -> ClassifyRequest:
    """Return what a body asks for, within the limits.

    Args:
        body: UTF-8.
        limits: see `Limits`.
        model: that is asked.

    Raises:
        RequestError: it is no JSON (400), of another form (422), or asks for too much (413).
    """
    try:
        asked = request_model(model.num_members).model_validate_json(body)
    except ValidationError as error:
        raise _as_refusal(error) from None
    _check_pairs(asked)
    _check_amount(asked, limits)
    return asked


def _check_head(request: Request, limits: Limits) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if kind != "application/json" or encoding != "identity":
        raise RequestError(
            415,
            "unsupported_media_type",
            "a body that is no plain JSON by its Content-Type or Content-Encoding",
            expected="Content-Type: application/json, and no Content-Encoding",
            remedy=f"send {_EXAMPLE} so",
            headers=_CLOSE,
        )
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limits.max_body_bytes:
        raise _too_large(f"a body of {int(length[:20]):,} bytes", limits)


def _too_large(found: str, limits: Limits) -> RequestError:
    return RequestError(
        413,
        "body_too_large",
        found,
        expected=f"at most {limits.max_body_bytes:,} bytes",
        remedy="send fewer texts a request",
        headers=_CLOSE,
    )


def _as_refusal(error: ValidationError) -> RequestError:
    number = error.error_count()
    if number > _MOST_FAULTS:
        return _of_another_form(f"{number:,} faults")
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return RequestError(
            400,
            "invalid_json",
            "a body that is no JSON in UTF-8",
            expected=_EXAMPLE,
            remedy="mend the body: escapes such as \\ud800 must come in pairs",
        )
    more = f", and {number - 1} more" if number > 1 else ""
    return _of_another_form(f"{_place(first['loc'])}: {first['msg']}{more}")


def _of_another_form(found: str) -> RequestError:
    return RequestError(
        422,
        "invalid_request",
        found,
        expected=f"{_EXAMPLE}; GET /openapi.json describes it",
        remedy="mend the request",
    )


def _place(location: Sequence[int | str]) -> str:
    """Return where a fault is: texts[3]; names that are not ours are not repeated."""
    known = set(ClassifyPairsRequest.model_fields)
    parts = [
        f"[{part}]" if isinstance(part, int) else part if part in known else "an unknown field"
        for part in location
    ]
    return "".join(parts) or "the body"


def _check_pairs(asked: ClassifyRequest) -> None:
    if isinstance(asked, ClassifyPairsRequest) and len(asked.text_pairs) != len(asked.texts):
        raise RequestError(
            422,
            "invalid_request",
            f"{len(asked.texts):,} texts and {len(asked.text_pairs):,} text_pairs",
            expected="a second text for every text, as the model was trained",
            remedy='make "text_pairs" a list as long as "texts"',
        )


def _check_amount(asked: ClassifyRequest, limits: Limits) -> None:
    most = limits.max_explained if asked.explain else limits.max_texts
    if len(asked.texts) > most:
        raise RequestError(
            413,
            "too_many_texts",
            f"{len(asked.texts):,} texts" + (" to explain" if asked.explain else ""),
            expected=f"at most {most:,} a request",
            remedy="send them in several requests",
        )
    for place, members in enumerate(asked.members()):
        for name, text in zip(("texts", "text_pairs"), members, strict=False):
            if len(text) > limits.max_characters:
                raise RequestError(
                    413,
                    "text_too_long",
                    f"{name}[{place}]: {len(text):,} characters",
                    expected=f"at most {limits.max_characters:,}",
                    remedy="shorten it: the model does not read so far",
                )

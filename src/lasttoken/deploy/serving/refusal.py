"""Requests that get no answer: what the client is told, as JSON, in the three lines of any error.

    {"error": {"code": "too_many_texts", "found": ..., "expected": ..., "remedy": ..., "id": ...}}

Nothing of a text is ever repeated: not to the client (who may have sent half a character), and not
to the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lasttoken.errors import LastTokenError


class RequestError(LastTokenError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        code: a word that programs can compare.
        found: what was found.
        expected: what was expected instead.
        remedy: what to do next.
        headers: further ones of the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        found: str,
        *,
        expected: str,
        remedy: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(found, expected=expected, remedy=remedy)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    def content(self, request_id: str) -> dict[str, Any]:
        """Return the body of the response."""
        return {
            "error": {
                "code": self.code,
                "found": self.found,
                "expected": self.expected,
                "remedy": self.remedy,
                "id": request_id,
            }
        }


def overloaded(
    found: str, retry_seconds: int, headers: Mapping[str, str] | None = None
) -> RequestError:
    """Return the refusal of a request for which the queue has no room."""
    return RequestError(
        429,
        "overloaded",
        found,
        expected="room in the queue",
        remedy=f"try again in {retry_seconds} s",
        headers={"Retry-After": str(retry_seconds), **(headers or {})},
    )


def not_ready(reason: str, retry_seconds: int = 5) -> RequestError:
    """Return the refusal of a request that came while no model answers."""
    return RequestError(
        503,
        "not_ready",
        reason,
        expected="a model that answers; GET /readyz tells when",
        remedy=f"try again in {retry_seconds} s",
        headers={"Retry-After": str(retry_seconds)},
    )


def timed_out(seconds: float) -> RequestError:
    """Return the refusal of a request that waited for too long."""
    return RequestError(
        504,
        "timeout",
        f"no answer within {seconds:g} s",
        expected="an answer by then",
        remedy="send fewer or shorter texts, or try again later",
    )


def departed() -> RequestError:
    """Return what stands in for the response of a client that has gone; nobody reads it."""
    return RequestError(
        499, "departed", "the client has gone", expected="a client", remedy="nothing to do"
    )


def failed() -> RequestError:
    """Return the refusal of a request that met a fault of ours."""
    return RequestError(
        500,
        "internal_error",
        "the model or the server failed on this request",
        expected="an answer",
        remedy="tell who runs the server the id; it stands in the server's log",
    )

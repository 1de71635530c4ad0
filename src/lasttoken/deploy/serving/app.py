"""The routes: `POST /classify`, what orchestrators and people ask of the server, and the page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from lasttoken import __version__
from lasttoken.deploy.serving.access import Access, Door
from lasttoken.deploy.serving.body import Intake, parse_body, read_body
from lasttoken.deploy.serving.metrics import Metrics
from lasttoken.deploy.serving.page_files import PageFile, page_files
from lasttoken.deploy.serving.refusal import (
    RequestError,
    departed,
    failed,
    not_ready,
    timed_out,
)
from lasttoken.deploy.serving.service import Answers, Service
from lasttoken.deploy.serving.shapes import (
    FaultResponse,
    predictions,
    request_schema,
    response_model,
)
from lasttoken.events import EventCallback

# Status to what a client may do wrong, or meet.
_FAULTS = {
    400: "no JSON, or nested too deep",
    408: "the body came too slowly",
    413: "more bytes, texts or characters than are taken at once",
    415: "no plain JSON",
    422: "JSON of another form",
    429: "the queue is full; Retry-After tells when to come again",
    500: "a fault of the model or the server; the id stands in its log",
    503: "no model answers now",
    504: "no answer in time",
}


def create_app(service: Service, access: Access, *, on_event: EventCallback) -> ASGIApp:
    """Return the ASGI application of a service.

    Args:
        service: started by whoever serves.
        access: who may ask.
        on_event: hears of faults.
    """
    app = FastAPI(
        title="lasttoken",
        version=__version__,
        description="A text classifier.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    door = Door(app, access, on_event=on_event)
    metrics = Metrics(service)
    _add_classify(app, service, metrics, door)
    _add_probes(app, service, metrics)
    _add_page(app)
    _add_faults(app)
    if access.key_sha256 is not None:
        _describe_key(app)
    return door


def _add_classify(app: FastAPI, service: Service, metrics: Metrics, door: Door) -> None:
    model = service.model
    intake = Intake(service.limits.max_bytes_at_hand)
    schema = request_schema(model.num_members, service.limits)

    @app.post(
        "/classify",
        summary="Classify texts",
        response_model=response_model(model.kind),
        responses=_faults(*_FAULTS),
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        },
    )
    async def classify(request: Request) -> Response:
        started = time.perf_counter()
        status = 500
        try:
            service.check_open()
            with intake.portion() as count:
                body = await read_body(request, service.limits, count)
                asked = parse_body(body, service.limits, model)
                work = service.classify(asked.members(), explain=asked.explain)
                answers = await _while_wanted(request, work, service)
                found = predictions(
                    model.kind, model.labels, answers, probabilities=asked.probabilities
                )
            status = 200
            return Response(
                json.dumps({"predictions": found}, ensure_ascii=False, allow_nan=False),
                media_type="application/json",
                headers={"Server-Timing": _timing(answers)},
            )
        except RequestError as refusal:
            status = refusal.status
            raise
        except Exception as error:  # the model's fault, or ours
            door.tell(request.state.request_id, error)
            raise failed() from error
        finally:
            metrics.count(status, time.perf_counter() - started)


async def _while_wanted(
    request: Request, work: Coroutine[Any, Any, Answers], service: Service
) -> Answers:
    """Return the answers, unless their client leaves, the time is up, or the server ends first.

    Raises:
        RequestError: that is so, or the service refuses.
    """
    answering = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_departure(request))
    giving_up = asyncio.ensure_future(service.given_up.wait())
    try:
        seconds = service.limits.request_seconds
        done, _ = await asyncio.wait(
            (answering, leaving, giving_up),
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if answering in done:
            return answering.result()
        if giving_up in done:
            raise not_ready(str(service.unready))
        is_late = not done
        service.dropped["timeout" if is_late else "departed"] += 1
        raise timed_out(seconds) if is_late else departed()
    finally:
        for task in (answering, leaving, giving_up):
            task.cancel()
        # Whatever they raise now is for nobody; left alone, asyncio would log it.
        await asyncio.gather(answering, leaving, giving_up, return_exceptions=True)


async def _departure(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _timing(answers: Answers) -> str:
    """Return what took how long, in milliseconds, as browsers and proxies read it."""
    return ", ".join(f"{name};dur={1000 * each:.1f}" for name, each in answers.seconds.items())


def _add_probes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/livez", summary="Is there a process that could answer?", responses=_faults(503))
    async def livez() -> dict[str, str]:
        if not service.is_alive:
            raise not_ready(str(service.unready))
        return {"status": "alive"}

    @app.get("/readyz", summary="Are requests taken now?", responses=_faults(503))
    async def readyz() -> dict[str, str]:
        if (reason := service.unready) is not None:
            raise not_ready(reason)
        return {"status": "ready"}

    @app.get("/info", summary="What answers, and the limits of a request")
    async def info() -> dict[str, Any]:
        limits = service.limits
        return {
            **service.model.facts,
            "limits": {
                "max_body_bytes": limits.max_body_bytes,
                "max_texts": limits.max_texts,
                "max_characters": limits.max_characters,
                "max_explained": limits.max_explained,
                "request_seconds": limits.request_seconds,
            },
        }

    @app.get(
        "/metrics",
        summary="Counts, in the form of Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    for path, file in page_files().items():
        app.add_route(path, _shows(file), include_in_schema=False)


def _shows(file: PageFile) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def show(request: Request) -> Response:
        del request
        return Response(file.content, media_type=file.media_type)

    return show


def _add_faults(app: FastAPI) -> None:
    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return Response(
            json.dumps(error.content(request.state.request_id), ensure_ascii=False),
            error.status,
            media_type="application/json",
            headers=error.headers,
        )

    async def refuse_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        paths = "POST /classify, GET /info /livez /readyz /metrics /openapi.json, and a page at /"
        refusal = RequestError(
            error.status_code,
            "no_such_route",
            "a path or method that is not served",
            expected=paths,
            remedy="another method" if error.status_code == 405 else "another path",
            headers=error.headers,
        )
        return await refuse(request, refusal)

    app.add_exception_handler(RequestError, refuse)
    app.add_exception_handler(HTTPException, refuse_route)


def _faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": FaultResponse, "description": _FAULTS[status]} for status in statuses}


def _describe_key(app: FastAPI) -> None:
    """Let OpenAPI say that a key is asked for, and where none is."""
    made = app.openapi

    def describe() -> dict[str, Any]:
        schema = made()
        schemes = {"key": {"type": "http", "scheme": "bearer"}}
        schema["components"]["securitySchemes"] = schemes
        for path, item in schema["paths"].items():
            if path not in ("/livez", "/readyz"):
                for operation in item.values():
                    operation["security"] = [{"key": []}]
                    operation["responses"]["401"] = {"description": "no API key, or another one"}
        return schema

    app.openapi = describe  # type: ignore[method-assign]

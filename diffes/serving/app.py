"""The HTTP face of an engine: our own endpoints, those of the OpenAI Images API, and the playground."""

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diffes.errors import DiffesError
from diffes.serving import native, openai_images
from diffes.serving.auth import RequireKey
from diffes.serving.calls import FollowedResponse
from diffes.serving.errors import answer, answer_bug, answer_http
from diffes.serving.front import Served
from diffes.serving.front_metrics import FrontMetrics
from diffes.serving.info import info
from diffes.serving.keys import Keys
from diffes.serving.openapi import document
from diffes.serving.origin import CLIENT_ID, client_id, request_id
from diffes.serving.playground.page import playground

ENDPOINTS = (
    "/",
    "/generate",
    "/generate/stream",
    "/v1/images/generations",
    "/v1/info",
    "/v1/models",
    "/openapi.json",
)

Handler = Callable[[Request, Served], Awaitable[Response]]


class Serves(Protocol):
    """What the app needs to know of a worker."""

    @property
    def metrics(self) -> FrontMetrics:
        """What it counts with."""

    @property
    def keys(self) -> Keys:
        """Who may ask."""

    def served(self) -> Served:
        """The engines; NotReady while none serves."""


logger = logging.getLogger(__name__)


def create_app(front: Callable[[], Serves]) -> Starlette:
    """The application; `front` is asked at every request, since a service makes it after the app."""

    def served(handler: Handler, *, invalid: int = 422) -> Callable[[Request], Awaitable[Response]]:
        """The handler with the engine; its errors as responses, wrong values with status `invalid`."""

        async def handle(request: Request) -> Response:
            response = await answered(request)
            called = client_id(request)
            if called:
                response.headers[CLIENT_ID] = called
            if request_id.get():
                response.headers.setdefault("X-Request-ID", request_id.get())
            return response

        async def answered(request: Request) -> Response:
            current, began = front(), perf_counter()
            try:
                response = await handler(request, current.served())
                _time_first_byte(response, began, current.metrics)
                return response
            except DiffesError as error:
                response = answer(error, invalid=invalid)
                if response.status_code in (400, 422):
                    current.metrics.invalid()
                return response

        return handle

    async def openapi(_: Request) -> Response:
        return JSONResponse(document())

    return Starlette(
        routes=[
            Route("/generate", served(native.generate), methods=["POST"]),
            Route("/generate/stream", served(native.stream), methods=["POST"]),
            Route("/v1/requests/{id}", served(native.cancel), methods=["DELETE"]),
            Route("/v1/images/generations", served(openai_images.generations, invalid=400), methods=["POST"]),
            Route("/v1/models", served(openai_images.models)),
            Route("/v1/info", served(info)),
            Route("/", playground),
            Route("/openapi.json", openapi),
        ],
        middleware=[Middleware(RequireKey, keys=lambda: front().keys)],
        exception_handlers={DiffesError: _on_error, HTTPException: _on_http, Exception: _on_bug},
    )


def _time_first_byte(response: Response, began: float, metrics: FrontMetrics) -> None:
    """A stream's when something is shown in it, an answer's now if it has images."""
    if isinstance(response, FollowedResponse):
        response.followed.at_first = lambda: metrics.first_byte("stream", perf_counter() - began)
    elif native.SEED in response.headers:
        metrics.first_byte("answer", perf_counter() - began)


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, DiffesError)
    return answer(error)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer_http(error)


async def _on_bug(_: Request, error: Exception) -> Response:
    logger.error("unforeseen error", exc_info=error)
    return answer_bug()

"""The service's own endpoints: `POST /generate`, `POST /generate/stream`, `DELETE /v1/requests/{id}`."""

from base64 import b64encode
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from diffes.engine.request import Preview, Progress, Result
from diffes.errors import DiffesError
from diffes.images import grid_png, png
from diffes.serving import sse
from diffes.serving.calls import Followed, FollowedResponse, answer_of, cancelled, read_body
from diffes.serving.errors import error_of, missing
from diffes.serving.front import Served
from diffes.serving.origin import known
from diffes.serving.schema import GenerateAnswer, GenerateBody, ImageFormat

CLIENT_CLOSED_REQUEST = 499
SEED = "X-Diffes-Seed"


async def generate(request: Request, served: Served) -> Response:
    """Images when they are all done."""
    body = GenerateBody.parse(await read_body(request))
    asked = known(request, body.request(served.bundle.wording, served.new_id()))
    result = await answer_of(request, served.engine, asked)
    if result is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return await run_in_threadpool(_render, result, served.bundle.id, body.response or _accepted(request))


async def stream(request: Request, served: Served) -> Response:
    """Events `accepted`, `progress` and `preview`, then `result` (as /generate answers in JSON) or `error`."""
    body = GenerateBody.parse(await read_body(request))
    asked = known(request, body.request(served.bundle.wording, served.new_id()))
    followed = await Followed.submitted(served.engine, asked)
    return FollowedResponse(_events(followed, asked.id, served.bundle.id), followed, headers={"X-Request-ID": asked.id})


async def cancel(request: Request, served: Served) -> Response:
    """Drop a request before its next step; 404 if it is not inside, or no more."""
    request_id = request.path_params["id"]
    if not await run_in_threadpool(served.engine.cancel, request_id):
        return missing(f"no request {request_id[:100]} is being served")
    return JSONResponse({"id": request_id, "cancelled": True})


def headers_of(result: Result, bundle_id: str) -> dict[str, str]:
    """What makes the images again, and where the time went."""
    timings = result.timings
    spans = [("queue", timings.queue_seconds)]
    spans += [(f"stage{stage.stage}", stage.seconds) for stage in timings.stages]
    spans.append(("total", timings.total_seconds))
    shed = {"X-Diffes-Shed-From": result.request.shed_from} if result.request.shed_from else {}
    return {
        "X-Request-ID": result.request.id,
        SEED: str(result.request.seed),
        "X-Diffes-Schedule": result.request.schedule,
        **shed,
        "X-Diffes-Bundle": bundle_id,
        "Server-Timing": ", ".join(f"{name};dur={seconds * 1e3:.1f}" for name, seconds in spans),
    }


async def _events(followed: Followed, request_id: str, bundle_id: str) -> AsyncIterator[bytes]:
    yield sse.event("accepted", {"id": request_id})
    async for heard in followed.events():
        if heard is not None:
            followed.shows()
        if isinstance(heard, Progress):
            told = {"image": heard.image, "step": heard.step, "steps": heard.steps, "stage": heard.stage}
            yield sse.event("progress", told)
        elif isinstance(heard, Preview):
            shown = b64encode(await run_in_threadpool(png, heard.pixels)).decode()
            yield sse.event("preview", {"image": heard.image, "index": heard.index, "b64_png": shown})
        else:
            yield sse.KEEPALIVE
    try:
        result = followed.future.result(timeout=0)
    except CancelledError:
        yield sse.event("error", error_of(cancelled()))
    except DiffesError as error:
        yield sse.event("error", error_of(error))
    else:
        answer = await run_in_threadpool(GenerateAnswer.of, result, bundle_id)
        yield sse.event("result", answer.model_dump())


def _accepted(request: Request) -> ImageFormat:
    accept = request.headers.get("accept", "")
    return "json" if "application/json" in accept and "image/" not in accept else "png"


def _render(result: Result, bundle_id: str, wanted: ImageFormat) -> Response:
    headers = headers_of(result, bundle_id)
    if wanted == "json":
        body = GenerateAnswer.of(result, bundle_id).model_dump_json()
        return Response(body, media_type="application/json", headers=headers)
    return Response(grid_png(result.images), media_type="image/png", headers=headers)

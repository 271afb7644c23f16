"""`POST /v1/images/generations` and `GET /v1/models`, such that OpenAI's own clients work.

Shapes and names are those of the API (platform.openai.com, Images); its official Python client runs against this in
the tests.
"""

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from torch import Tensor

from diffes.engine.request import Preview, Result
from diffes.errors import DiffesError, InvalidInput
from diffes.images import encoded
from diffes.serving import sse
from diffes.serving.calls import Followed, FollowedResponse, answer_of, cancelled, read_body
from diffes.serving.errors import error_of, missing
from diffes.serving.front import Served
from diffes.serving.native import CLIENT_CLOSED_REQUEST, headers_of
from diffes.serving.openai_schema import ImagesBody
from diffes.serving.origin import known
from diffes.serving.schema import Times

_PARTIAL, _COMPLETED = "image_generation.partial_image", "image_generation.completed"


async def models(_: Request, served: Served) -> Response:
    """The model, and the model under each of its schedules."""
    listed = [
        {"id": name, "object": "model", "created": served.opened, "owned_by": "diffes"} for name in model_ids(served)
    ]
    return JSONResponse({"object": "list", "data": listed})


async def generations(request: Request, served: Served) -> Response:
    """Images, or a stream of partial ones and the last."""
    body = ImagesBody.parse(await read_body(request))
    ids = model_ids(served)
    if body.model is not None and body.model not in ids:
        return missing(f"no model {body.model!r}: expected one of {', '.join(ids)}", "model", "model_not_found")
    _require_size(body.size, served)
    asked = known(request, body.request(served.bundle.wording, _schedule_of(body.model), served.new_id()))
    told = _Told(body, served)
    if body.stream:
        followed = await Followed.submitted(served.engine, asked)
        return FollowedResponse(told.events(followed), followed, headers={"X-Request-ID": asked.id})
    result = await answer_of(request, served.engine, asked)
    if result is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return JSONResponse(await run_in_threadpool(told.answer, result), headers=headers_of(result, served.bundle.id))


def model_ids(served: Served) -> Sequence[str]:
    """The model by itself is its default schedule."""
    return (served.model, *(f"{served.model}@{schedule}" for schedule in served.bundle.manifest.schedules))


def _schedule_of(model: str | None) -> str | None:
    _, at, schedule = (model or "").rpartition("@")
    return schedule if at else None


def _require_size(size: str | None, served: Served) -> None:
    known = list(map(str, served.bundle.sizes))
    if size not in (None, "auto", *known):
        raise InvalidInput("size", expected=f"auto or {' or '.join(known)}", found=str(size)[:100])


class _Told:
    """How one request's images are told of."""

    def __init__(self, body: ImagesBody, served: Served) -> None:
        self._body = body
        self._bundle_id = served.bundle.id
        size = str(served.bundle.image_size) if body.size in (None, "auto") else body.size
        self._form = {
            "background": "opaque",
            "output_format": body.output_format,
            "quality": body.quality or "auto",
            "size": size,
        }

    def answer(self, result: Result) -> dict[str, Any]:
        """All images, what makes them again, and where the time went."""
        request = result.request
        data = [{**self._image(pixels), "seed": request.seed + index} for index, pixels in enumerate(result.images)]
        return {"created": int(time.time()), "data": data, **self._form, **self._made_of(result)}

    async def events(self, followed: Followed) -> AsyncIterator[bytes]:
        """Partial images as they are there, then the image; or an error."""
        async for heard in followed.events():
            if isinstance(heard, Preview):
                image = await run_in_threadpool(self._encoded, heard.pixels)
                followed.shows()
                yield self._event(_PARTIAL, b64_json=image, partial_image_index=heard.index)
            elif heard is None:
                yield sse.KEEPALIVE
        try:
            result = followed.future.result(timeout=0)
        except CancelledError:
            yield sse.event(None, error_of(cancelled()))
        except DiffesError as error:
            yield sse.event(None, error_of(error))
        else:
            image = await run_in_threadpool(self._encoded, result.images[0])
            followed.shows()
            yield self._event(_COMPLETED, b64_json=image, **self._made_of(result))

    def _event(self, name: str, **more: Any) -> bytes:
        return sse.event(name, {"type": name, "created_at": int(time.time()), **self._form, **more})

    def _image(self, pixels: Tensor) -> dict[str, str]:
        image = self._encoded(pixels)
        if self._body.response_format == "url":
            return {"url": f"data:image/{self._body.output_format};base64,{image}"}
        return {"b64_json": image}

    def _encoded(self, pixels: Tensor) -> str:
        return b64encode(encoded(pixels, self._body.output_format, self._body.output_compression)).decode()

    def _made_of(self, result: Result) -> dict[str, Any]:
        request = result.request
        return {
            "id": request.id,
            "seed": request.seed,
            "schedule": request.schedule,
            "shed_from": request.shed_from or None,
            "bundle": self._bundle_id,
            "timings": Times.of(result.timings).model_dump(),
        }

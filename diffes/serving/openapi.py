"""The OpenAPI description of the service's own endpoints."""

from functools import cache
from typing import Any

from diffes import __version__
from diffes.serving.openai_schema import ImagesBody
from diffes.serving.schema import GenerateAnswer, GenerateBody

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
_FAILURES = {
    "400": "The body is no JSON object; on OpenAI's path also: a field is unknown, of a wrong type, or out of range.",
    "401": "The service has API keys, and none of them came.",
    "404": "No such model, or no such request inside.",
    "410": "The request was cancelled by its id.",
    "413": "The body is larger than 64 KiB.",
    "415": "The body is said to be something else than JSON in UTF-8.",
    "422": "A field is unknown, of a wrong type, or out of range.",
    "429": "No room: the queue is full, too much waits, or it would be late. Retry-After says when to come back.",
    "500": "The denoiser failed on this request.",
    "503": "The service is warming up or shutting down.",
    "504": "It was not done within timeout_s.",
}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_REFERENCE = "#/components/schemas/{model}"

Json = dict[str, Any]


@cache
def document() -> Json:
    """OpenAPI 3.1; bodies and answers come from the models that parse and write them."""
    schemas: Json = {"Error": _ERROR}
    for model in (GenerateBody, ImagesBody, GenerateAnswer):
        schema = model.model_json_schema(ref_template=_REFERENCE)
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Diffes", "version": __version__},
        "paths": {
            "/generate": {"post": _generate()},
            "/generate/stream": {"post": _stream()},
            "/v1/requests/{id}": {"delete": _cancel()},
            "/v1/images/generations": {"post": _generations()},
            "/v1/models": {"get": _read("models", "The model, and the model under each schedule, by id.")},
            "/v1/info": {"get": _read("info", "Labels, schedules with their stages, image size, bundle and backend.")},
        },
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
        "security": [{}, *({name: []} for name in _SECURITY)],  # the service may have no keys
    }


def _generate() -> Json:
    content = {"image/png": {"schema": {"type": "string", "format": "binary"}}, **_json("GenerateAnswer")}
    success = {"description": "The image; several side by side.", "content": content}
    failures = _failures("400", "410", "413", "415", "422", "429", "500", "503", "504")
    return _posting("generate", "Make images of one class.", "GenerateBody", success, failures)


def _stream() -> Json:
    told = (
        "Server-sent events: `accepted` with the id, `progress` of every image's step, `preview` where asked for, then"
        " `result` with what /generate answers, or `error`."
    )
    success = {"description": told, "content": _EVENTS}
    failures = _failures("400", "413", "415", "422", "429", "503")
    return _posting("stream", "Make images, and hear of their steps.", "GenerateBody", success, failures)


def _generations() -> Json:
    told = "Images as in the OpenAI Images API; with `stream` events of it, partial images where stages end."
    success = {"description": told, "content": {**_OBJECT, **_EVENTS}}
    failures = _failures("400", "404", "410", "413", "415", "429", "500", "503", "504")
    return _posting("generations", "The OpenAI Images API.", "ImagesBody", success, failures)


def _cancel() -> Json:
    named = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    done = {"description": "It takes no further step.", "content": _OBJECT}
    return {
        "operationId": "cancel",
        "summary": "Take a request back.",
        "parameters": [named],
        "responses": {"200": done, **_failures("404", "503")},
    }


def _read(name: str, told: str) -> Json:
    success = {"description": told, "content": _OBJECT}
    return {"operationId": name, "summary": told, "responses": {"200": success, **_failures("503")}}


def _posting(name: str, summary: str, body: str, success: Json, failures: Json) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {"200": success, **failures},
    }


_EVENTS: Json = {"text/event-stream": {"schema": {"description": "Server-sent events (WHATWG HTML, section 9.2)."}}}
_OBJECT: Json = {"application/json": {"schema": {"type": "object"}}}


def _json(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=schema)}}}


def _failures(*statuses: str) -> Json:
    return {status: {"description": _FAILURES[status], "content": _json("Error")} for status in ("401", *statuses)}

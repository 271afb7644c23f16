"""The OpenAPI description of the service's own endpoints."""

from functools import cache
from typing import Any

from diffes import __version__
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
    "400": "The body is no JSON object.",
    "413": "The body is larger than 64 KiB.",
    "422": "A field is unknown, of a wrong type, or out of range.",
    "429": "The queue is full; Retry-After says when to come back.",
    "500": "The denoiser failed on this request.",
    "503": "The service is warming up or shutting down.",
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1; request and answer come from the models that parse and write them."""
    reference = "#/components/schemas/{model}"
    answer = GenerateAnswer.model_json_schema(ref_template=reference)
    nested = answer.pop("$defs", {})
    success = {
        "description": "The image; several side by side.",
        "content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/GenerateAnswer"}},
        },
    }
    failure = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    failures = {status: {"description": text, "content": failure} for status, text in _FAILURES.items()}
    body = {"schema": {"$ref": "#/components/schemas/GenerateBody"}}
    generate = {
        "operationId": "generate",
        "summary": "Make images of one class.",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"200": success, **failures},
    }
    described = {"200": {"description": "Labels, schedules, bundle and backend."}, "503": failures["503"]}
    info = {"operationId": "info", "summary": "What is served.", "responses": described}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Diffes", "version": __version__},
        "paths": {"/generate": {"post": generate}, "/v1/info": {"get": info}},
        "components": {
            "schemas": {
                "GenerateBody": GenerateBody.model_json_schema(ref_template=reference),
                "GenerateAnswer": answer,
                "Error": _ERROR,
                **nested,
            }
        },
    }

"""The OpenAI Images API: every field honoured, or refused by name."""

from base64 import b64decode
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.engine.conftest import STEPS, MemoryBackend
from tests.serving.conftest import BUNDLE_ID, Warm
from tests.serving.test_native import events

PATH = "/v1/images/generations"


def test_images_come_with_what_makes_them_again(client: TestClient) -> None:
    answer = client.post(PATH, json={"prompt": "a ship", "n": 2, "seed": 5})
    body = answer.json()
    assert [data["seed"] for data in body["data"]] == [5, 6]
    assert Image.open(BytesIO(b64decode(body["data"][0]["b64_json"]))).size == (8, 8)
    second = client.post(PATH, json={"prompt": "ship", "seed": 6}).json()
    assert body["data"][1]["b64_json"] == second["data"][0]["b64_json"]
    assert [body[key] for key in ("size", "output_format", "background", "quality")] == ["8x8", "png", "opaque", "auto"]
    assert (body["seed"], body["schedule"], body["bundle"]) == (5, "mixed", BUNDLE_ID)
    assert sum(stage["steps"] for stage in body["timings"]["stages"]) == STEPS
    assert body["id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_images_are_encoded_as_asked(client: TestClient, kind: str) -> None:
    body = client.post(PATH, json={"prompt": "cat", "output_format": kind, "response_format": "url"}).json()
    head, _, data = body["data"][0]["url"].partition(",")
    assert head == f"data:image/{kind};base64"
    assert Image.open(BytesIO(b64decode(data))).format == kind.upper()


def test_the_models_are_the_schedules(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["diffes", "diffes@mixed", "diffes@half"]
    assert all(model["object"] == "model" and model["owned_by"] == "diffes" for model in listed["data"])


@pytest.mark.parametrize(("asked", "schedule"), [("diffes", "mixed"), ("diffes@half", "half"), (None, "mixed")])
def test_the_model_chooses_the_schedule(client: TestClient, asked: str | None, schedule: str) -> None:
    body = client.post(PATH, json={"prompt": "cat", "model": asked}).json()
    assert body["schedule"] == schedule


def test_a_model_there_is_none_of_is_not_found(client: TestClient) -> None:
    for model in ("dall-e-3", "diffes@fast", "@half", ""):
        answer = client.post(PATH, json={"prompt": "cat", "model": model})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")
        assert "diffes@half" in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "prompt", "expected a value, found nothing"),
        ({"prompt": "a unicorn"}, "prompt", "names exactly one of airplane"),
        ({"prompt": "cat", "n": 17}, "n", "expected 1..16, found 17"),
        ({"prompt": "cat", "n": 2, "stream": True}, "n", "expected 1 in a stream, found 2"),
        ({"prompt": "cat", "size": "1024x1024"}, "size", "expected auto or 8x8, found 1024x1024"),
        ({"prompt": "cat", "quality": "hd"}, "quality", "expected 'auto' or 'standard'"),
        ({"prompt": "cat", "style": "vivid"}, "style", "found"),
        ({"prompt": "cat", "background": "transparent"}, "background", "expected 'auto' or 'opaque'"),
        ({"prompt": "cat", "output_format": "gif"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"prompt": "cat", "output_compression": 50}, "output_compression", "expected nothing for png"),
        ({"prompt": "cat", "output_compression": 101}, "output_compression", "less than or equal to 100"),
        ({"prompt": "cat", "partial_images": 2}, "partial_images", "expected 0 without stream"),
        ({"prompt": "cat", "partial_images": 4, "stream": True}, "partial_images", "less than or equal to 3"),
        ({"prompt": "cat", "image": "x"}, "image", "an unknown key"),
        ({"prompt": "cat", "timeout_s": 0}, "timeout_s", "more than 0 seconds"),
        ({"prompt": "cat", "seed": 2**40}, "seed", "expected 0.."),
        ({"prompt": "cat", "class_label": 99}, "label", "expected 0..9"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    client: TestClient, runtime: Warm, body: dict[str, Any], param: str, message: str
) -> None:
    answer = client.post(PATH, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert message in error["message"]
    assert runtime.count("diffes_requests_total", status="invalid") == 1


def test_a_stream_shows_partial_images_and_then_the_image(client: TestClient) -> None:
    asked = {"prompt": "cat", "seed": 3}
    heard = events(client.post(PATH, json=asked | {"stream": True, "partial_images": 2}).text)
    partial, completed = "image_generation.partial_image", "image_generation.completed"
    assert [name for name, _ in heard] == [partial, partial, completed]
    assert [data["type"] for _, data in heard] == [partial, partial, completed]
    assert [data["partial_image_index"] for _, data in heard[:2]] == [0, 1]
    assert all(data["size"] == "8x8" and data["output_format"] == "png" for _, data in heard)
    assert heard[-1][1]["b64_json"] == client.post(PATH, json=asked).json()["data"][0]["b64_json"]


def test_an_error_in_a_stream_is_an_event_of_it(client: TestClient, backend: MemoryBackend) -> None:
    def explode(subgraph: str, _rows: int) -> None:
        if subgraph == "step1":
            raise RuntimeError("a secret")

    backend.before = explode
    ((name, data),) = events(client.post(PATH, json={"prompt": "cat", "stream": True}).text)
    assert name is None
    assert (data["error"]["code"], data["error"]["message"]) == ("engine_failed", "stage 1 failed on subgraph step1")

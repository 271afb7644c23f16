"""The HTTP face: what a caller gets, and what every mistake is answered with."""

import asyncio
import re
import threading
from base64 import b64decode
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.routing import Route
from starlette.testclient import TestClient

from diffes.bundle import Bundle
from diffes.engine.request import MAX_SEED
from diffes.serving.app import create_app
from diffes.serving.openai_schema import ImagesBody
from diffes.serving.schema import GenerateAnswer, GenerateBody
from tests.engine.conftest import STEPS, MemoryBackend
from tests.serving.conftest import BUNDLE_ID, Warm, client_of
from tests.serving.waiting import wait_for


def pixels(data: bytes) -> bytes:
    return Image.open(BytesIO(data)).tobytes()


def test_one_image_comes_as_png_with_what_makes_it_again(client: TestClient) -> None:
    answer = client.post("/generate", json={"label": "ship"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-diffes-schedule"] == "mixed"
    assert answer.headers["x-diffes-bundle"] == BUNDLE_ID
    assert Image.open(BytesIO(answer.content)).size == (8, 8)
    again = client.post("/generate", json={"label": "ship", "seed": int(answer.headers["x-diffes-seed"])})
    assert again.content == answer.content


def test_several_images_come_side_by_side(client: TestClient) -> None:
    answer = client.post("/generate", json={"label": 3, "n": 3, "seed": 5})
    sheet = Image.open(BytesIO(answer.content))
    assert sheet.size == (24, 8)
    second = client.post("/generate", json={"label": 3, "seed": 6})
    assert sheet.crop((8, 0, 16, 8)).tobytes() == pixels(second.content)


def test_json_is_given_by_field_or_by_accept_header(client: TestClient) -> None:
    asked = {"label": "cat", "seed": 7, "n": 2}
    by_field = client.post("/generate", json=asked | {"response": "json"}).json()
    by_header = client.post("/generate", json=asked, headers={"Accept": "application/json"}).json()
    assert by_field["images"] == by_header["images"]
    assert {key: by_field[key] for key in ("seed", "label", "schedule", "steps", "guidance", "bundle")} == {
        "seed": 7,
        "label": 3,
        "schedule": "mixed",
        "steps": STEPS,
        "guidance": 1.5,
        "bundle": BUNDLE_ID,
    }
    assert Image.open(BytesIO(b64decode(by_field["images"][1]))).size == (8, 8)
    png = client.post("/generate", json=asked | {"response": "png"}, headers={"Accept": "application/json"})
    assert png.headers["content-type"] == "image/png"


def test_timings_name_every_stage(client: TestClient) -> None:
    answer = client.post("/generate", json={"label": 0, "response": "json"})
    timings = answer.json()["timings"]
    assert [stage["stage"] for stage in timings["stages"]] == [0, 1, 2, 3]
    assert sum(stage["steps"] for stage in timings["stages"]) == STEPS
    assert timings["total_seconds"] > sum(stage["seconds"] for stage in timings["stages"])
    spans = answer.headers["server-timing"].split(", ")
    assert [span.split(";")[0] for span in spans] == ["queue", "stage0", "stage1", "stage2", "stage3", "total"]


def test_a_prompt_names_a_class(client: TestClient) -> None:
    by_prompt = client.post("/generate", json={"prompt": "A photo of two Ships!", "seed": 1})
    by_label = client.post("/generate", json={"label": "ship", "seed": 1})
    assert by_prompt.content == by_label.content


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"label": "unicorn"}, "label", "expected 0..9 or one of airplane, automobile, bird,"),
        ({"label": 10}, "label", "found 10"),
        ({"label": True}, "label", "expected a class name or id, found true"),
        ({"prompt": "a unicorn"}, "prompt", "names exactly one of airplane,"),
        ({"prompt": "a cat and a dog"}, "prompt", "which names cat, dog"),
        ({"label": 1, "prompt": "cat"}, "label", "expected exactly one of label and prompt, found both"),
        ({}, "label", "found neither"),
        ({"label": 1, "n": 0}, "n", "expected 1..16, found 0"),
        ({"label": 1, "n": 17}, "n", "expected 1..16, found 17"),
        ({"label": 1, "n": "2"}, "n", 'expected a valid integer, found "2"'),
        ({"label": 1, "n": 1.5}, "n", "found 1.5"),
        ({"label": 1, "steps": 0}, "steps", "expected 1..1000, found 0"),
        ({"label": 1, "steps": 1001}, "steps", "expected 1..1000, found 1001"),
        ({"label": 1, "steps": 10**30}, "steps", "expected 1..1000"),
        ({"label": 1, "seed": -1}, "seed", f"expected 0..{MAX_SEED}, found -1"),
        ({"label": 1, "seed": 2**32}, "seed", f"expected 0..{MAX_SEED}"),
        ({"label": 1, "guidance": 0.9}, "guidance", "expected 0, which is none, or 1..20, found 0.9"),
        ({"label": 1, "guidance": 21}, "guidance", "expected 0, which is none, or 1..20, found 21"),
        ({"label": 1, "schedule": "fast"}, "schedule", "expected one of mixed, half, found fast"),
        ({"label": 1, "response": "gif"}, "response", "'png' or 'json'"),
        ({"label": 1, "colour": "red"}, "colour", "expected one of label, prompt, negative_prompt, n,"),
    ],
)
def test_a_wrong_field_is_answered_with_its_name_bound_and_value(
    client: TestClient, runtime: Warm, body: dict[str, Any], param: str, message: str
) -> None:
    answer = client.post("/generate", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert error["param"] == param
    assert message in error["message"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
    assert runtime.count("diffes_requests_total", status="invalid") == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b'"ship"', b"\xff\xfe", b'{"label": NaN}', b"[" * 60_000, b'{"seed": ' + b"9" * 5000 + b"}"],
    ids=["empty", "open", "list", "string", "no utf-8", "nan", "deep", "huge number"],
)
def test_a_body_that_is_no_json_object_is_malformed(client: TestClient, body: bytes) -> None:
    answer = client.post("/generate", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed_json"


def test_a_body_over_the_limit_is_refused(client: TestClient) -> None:
    answer = client.post("/generate", content=b" " * (64 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.json()["error"] == {
        "message": "invalid body: expected at most 65536 bytes, found more",
        "type": "invalid_request_error",
        "param": None,
        "code": "body_too_large",
    }


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/generate", 405), ("GET", "/nothing", 404)])
def test_wrong_paths_and_methods_answer_in_the_same_shape(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


def test_a_full_queue_answers_429_and_when_to_come_back(idle: Warm) -> None:
    def fill() -> None:
        client_of(idle).post("/generate", json={"label": 0})

    fillers = [threading.Thread(target=fill) for _ in range(2)]
    for filler in fillers:
        filler.start()
    wait_for(lambda: idle.count("diffes_queue_depth") == 2)
    answer = client_of(idle).post("/generate", json={"label": 0})
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "queue_full"
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert idle.count("diffes_requests_total", status="rejected") == 1
    idle.engine.start()
    for filler in fillers:
        filler.join(timeout=30)


def test_a_service_that_warms_up_answers_503(idle: Warm) -> None:
    idle.ready = False
    for answer in (client_of(idle).post("/generate", json={"label": 0}), client_of(idle).get("/v1/info")):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "not_ready"
        assert "retry-after" in answer.headers


def test_a_failing_step_answers_500_without_what_the_runtime_said(client: TestClient, backend: MemoryBackend) -> None:
    def explode(subgraph: str, _rows: int) -> None:
        if subgraph == "step0":
            raise RuntimeError("address 0xdeadbeef")

    backend.before = explode
    answer = client.post("/generate", json={"label": 0})
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "stage 0 failed on subgraph step0"


def test_a_bug_is_answered_in_the_same_shape(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("diffes.serving.native._render", broken)
    answer = client.post("/generate", json={"label": 0})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"


def test_a_client_that_leaves_frees_its_place(idle: Warm) -> None:
    async def leave() -> None:
        transport = httpx.ASGITransport(create_app(lambda: idle))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            asked = asyncio.create_task(client.post("/generate", json={"label": 0}))
            while idle.count("diffes_queue_depth") == 0:
                await asyncio.sleep(0.01)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(leave())
    assert idle.count("diffes_requests_total", status="cancelled") == 1


def test_a_disconnected_client_is_noticed_while_its_request_waits(idle: Warm) -> None:
    """No transport tells the app that its client left but the receive channel: speak ASGI by hand."""
    body = {"type": "http.request", "body": b'{"label": 0}', "more_body": False}
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def talk() -> None:
        inbox.put_nowait(body)
        scope = {"type": "http", "method": "POST", "path": "/generate", "headers": [], "query_string": b""}
        talking = asyncio.create_task(create_app(lambda: idle)(scope, inbox.get, send))
        while idle.count("diffes_queue_depth") == 0:
            await asyncio.sleep(0.01)
        inbox.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(talking, timeout=10)

    asyncio.run(talk())
    assert sent[0]["status"] == 499
    assert idle.count("diffes_requests_total", status="cancelled") == 1


def test_info_lists_what_can_be_asked_for(client: TestClient) -> None:
    info = client.get("/v1/info").json()
    assert info["labels"][8] == "ship"
    assert info["default"] == "mixed"
    assert info["bundle"] == BUNDLE_ID
    assert info["backend"] == "memory"
    assert 0 < info["schedules"]["mixed"]["macs_removed"] < info["schedules"]["half"]["macs_removed"] < 1
    assert info["image"] == {"height": 8, "width": 8}


def test_info_tells_what_each_stage_keeps(client: TestClient, bundle: Bundle) -> None:
    mixed = client.get("/v1/info").json()["schedules"]["mixed"]
    assert [(stage["high"], stage["low"]) for stage in mixed["stages"]] == [
        (999, 750),
        (749, 500),
        (499, 250),
        (249, 0),
    ]
    assert [stage["subgraph"] for stage in mixed["stages"]] == ["step0", "step1", "step0", "step1"]
    kept = [stage["share_kept"] for stage in mixed["stages"]]
    assert kept[0] == kept[2] == 1
    assert sum(kept) / len(kept) == pytest.approx(1 - mixed["macs_removed"])  # a step in every stage
    assert mixed["compensation"] == bundle.schedule("mixed").compensation


def test_the_description_covers_every_endpoint_and_field(client: TestClient, runtime: Warm) -> None:
    document = client.get("/openapi.json").json()
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    app = create_app(lambda: runtime)
    routes = [route for route in app.routes if isinstance(route, Route)]
    served = {(route.path, method) for route in routes for method in route.methods or () if method != "HEAD"}
    assert described == served - {("/", "GET"), ("/openapi.json", "GET")}
    schemas = document["components"]["schemas"]
    for model in (GenerateBody, ImagesBody, GenerateAnswer):
        assert schemas[model.__name__]["properties"].keys() == model.model_fields.keys()
    fields = schemas["GenerateBody"]["properties"]
    assert (fields["n"]["minimum"], fields["n"]["maximum"]) == (1, 16)


def test_every_reference_of_the_description_is_there(client: TestClient) -> None:
    text = client.get("/openapi.json").text
    names = client.get("/openapi.json").json()["components"]["schemas"]
    assert {reference for reference in re.findall(r"#/components/schemas/(\w+)", text)} <= names.keys()


def test_the_first_byte_is_an_answer_s_or_the_first_that_a_stream_shows(client: TestClient, runtime: Warm) -> None:
    client.post("/generate", json={"label": 0})
    client.post("/v1/images/generations", json={"prompt": "a ship", "stream": True, "partial_images": 1})
    client.post("/generate/stream", json={"label": 0})
    client.post("/generate", json={"label": "unicorn"})
    client.get("/v1/info")
    assert runtime.count("diffes_first_byte_seconds_count", kind="answer") == 1
    assert runtime.count("diffes_first_byte_seconds_count", kind="stream") == 2


def test_a_stream_s_first_byte_comes_before_its_end(client: TestClient, runtime: Warm, backend: MemoryBackend) -> None:
    taken = 0

    def slower(*_: object) -> None:
        nonlocal taken
        taken += 1
        threading.Event().wait(0.0 if taken < 3 else 0.1)

    backend.before = slower
    client.post("/generate/stream", json={"label": 0})
    first = runtime.count("diffes_first_byte_seconds_sum", kind="stream")
    assert first < runtime.count("diffes_request_seconds_sum", schedule="mixed", status="done") - 0.1

"""Streams of what happens to a request, and taking one back."""

import asyncio
import json
import threading
import time
from base64 import b64decode
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from diffes.serving.app import create_app
from tests.engine.conftest import STEPS, MemoryBackend
from tests.serving.conftest import BUNDLE_ID, Warm, client_of
from tests.serving.waiting import wait_for

Event = tuple[str | None, dict[str, Any]]


def events(text: str) -> list[Event]:
    """Name and data of every event of a stream."""
    found: list[Event] = []
    for block in filter(None, text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields.get("event"), json.loads(fields["data"])))
    return found


def streamed(client: TestClient, **body: Any) -> list[Event]:
    answer = client.post("/generate/stream", json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events(answer.text)


def test_a_stream_tells_of_every_step_and_ends_in_what_generate_answers(client: TestClient) -> None:
    asked = {"label": "cat", "seed": 7, "n": 2}
    heard = streamed(client, **asked)
    assert [name for name, _ in heard] == ["accepted", *["progress"] * 2 * STEPS, "result"]
    steps = [data for name, data in heard if name == "progress"]
    assert steps[-1] == {"image": 1, "step": STEPS, "steps": STEPS, "stage": 3}
    result = heard[-1][1]
    direct = client.post("/generate", json=asked | {"response": "json"}).json()
    assert {key: result[key] for key in result.keys() - {"id", "timings"}} == {
        key: direct[key] for key in direct.keys() - {"id", "timings"}
    }
    assert result["id"] == heard[0][1]["id"]
    assert result["bundle"] == BUNDLE_ID


def test_previews_are_pngs_that_come_between_the_steps(client: TestClient) -> None:
    heard = streamed(client, label=1, previews=2)
    previews = [data for name, data in heard if name == "preview"]
    assert [(preview["image"], preview["index"]) for preview in previews] == [(0, 0), (0, 1)]
    for preview in previews:
        assert Image.open(BytesIO(b64decode(preview["b64_png"]))).size == (8, 8)
    names = [name for name, _ in heard]
    assert names.index("progress") < names.index("preview") < len(names) - 1 - names[::-1].index("progress")


def test_a_request_that_fails_ends_its_stream_in_an_error(client: TestClient, backend: MemoryBackend) -> None:
    def explode(subgraph: str, _rows: int) -> None:
        if subgraph == "step1":
            raise RuntimeError("a secret")

    backend.before = explode
    name, data = streamed(client, label=0)[-1]
    assert name == "error"
    assert data["error"] == {
        "message": "stage 1 failed on subgraph step1",
        "type": "server_error",
        "param": None,
        "code": "engine_failed",
    }


def test_what_is_wrong_is_answered_before_a_stream_begins(client: TestClient) -> None:
    answer = client.post("/generate/stream", json={"label": 0, "previews": 17})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "previews")


@pytest.mark.parametrize("path", ["/generate", "/generate/stream"])
def test_who_leaves_frees_the_place_of_the_request(idle: Warm, path: str) -> None:
    async def leave() -> None:
        transport = httpx.ASGITransport(create_app(lambda: idle))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            asked = asyncio.create_task(client.post(path, json={"label": 0}))
            while idle.count("diffes_queue_depth") == 0:
                await asyncio.sleep(0.01)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(leave())
    wait_for(lambda: idle.count("diffes_requests_total", status="cancelled") == 1)


def test_a_request_is_taken_back_by_its_id_and_its_caller_is_told(idle: Warm) -> None:
    client, heard = client_of(idle), list[Event]()
    caller = threading.Thread(target=lambda: heard.extend(streamed(client, label=0)))
    caller.start()
    wait_for(lambda: idle.count("diffes_queue_depth") == 1)
    (request_id,) = idle.engine._named
    answer = client_of(idle).delete(f"/v1/requests/{request_id}")
    assert (answer.status_code, answer.json()) == (200, {"id": request_id, "cancelled": True})
    caller.join(timeout=10)
    assert [name for name, _ in heard] == ["accepted", "error"]
    assert heard[1][1]["error"]["code"] == "cancelled"
    again = client_of(idle).delete(f"/v1/requests/{request_id}")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")


def test_who_waits_for_an_image_that_is_taken_back_is_told_not_to_try_again(idle: Warm) -> None:
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(client_of(idle).post("/generate", json={"label": 0})))
    caller.start()
    wait_for(lambda: idle.count("diffes_queue_depth") == 1)
    (request_id,) = idle.engine._named
    assert client_of(idle).delete(f"/v1/requests/{request_id}").status_code == 200
    caller.join(timeout=10)
    assert answers[0].status_code == 410
    assert answers[0].json()["error"]["code"] == "cancelled"


def test_an_image_that_is_not_done_in_time_is_answered_504(idle: Warm, backend: MemoryBackend) -> None:
    backend.before = lambda _graph, _rows: time.sleep(0.05)
    idle.engine.start()
    answer = client_of(idle).post("/generate", json={"label": 0, "timeout_s": 0.01})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert answer.headers["x-should-retry"] == "false"

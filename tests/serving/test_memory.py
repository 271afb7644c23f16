"""What requests leave behind: nothing."""

import gc

from starlette.testclient import TestClient

from tests.serving.conftest import Warm, client_of


def held() -> int:
    gc.collect()
    return len(gc.get_objects())


def test_requests_that_were_answered_leave_no_object_behind(client: TestClient) -> None:
    def ask(count: int) -> None:
        for seed in range(count):
            assert client.post("/generate", json={"label": seed % 10, "seed": seed, "steps": 1}).status_code == 200
            assert client.post("/generate/stream", json={"label": 0, "steps": 1}).status_code == 200
            assert client.post("/generate", json={"label": 99}).status_code == 422

    ask(10)
    before = held()
    ask(60)
    assert held() - before < 60


def test_requests_that_were_refused_leave_no_object_behind(idle: Warm) -> None:
    idle.ready = False
    client = client_of(idle)

    def ask(count: int) -> None:
        for seed in range(count):
            assert client.post("/generate", json={"label": 0, "seed": seed}).status_code == 503

    ask(10)
    before = held()
    ask(60)
    assert held() - before < 60

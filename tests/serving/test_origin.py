"""Ids that calls come with."""

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize("header", ["X-Request-ID", "X-Client-Request-ID"])
def test_a_caller_s_id_comes_back_beside_ours(client: TestClient, header: str) -> None:
    for body, status in (({"label": 0}, 200), ({"label": "unicorn"}, 422)):
        answer = client.post("/generate", json=body, headers={header: "order-7.a_b"})
        assert answer.status_code == status
        assert answer.headers["x-client-request-id"] == "order-7.a_b"
    assert client.post("/generate", json={"label": 0}).headers["x-request-id"].startswith("img-")


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "x" * 129, "img/1", '"}', "é".encode().decode("latin-1")])
def test_an_id_that_could_harm_a_log_is_not_taken(client: TestClient, given: str) -> None:
    answer = client.post("/generate", json={"label": 0}, headers={b"X-Request-ID": given.encode("latin-1")})
    assert answer.status_code == 200
    assert "x-client-request-id" not in answer.headers


def test_a_caller_s_id_never_names_a_request_to_cancel(client: TestClient) -> None:
    client.post("/generate", json={"label": 0}, headers={"X-Request-ID": "order-7"})
    assert client.delete("/v1/requests/order-7").status_code == 404

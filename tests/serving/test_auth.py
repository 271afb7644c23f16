"""Who may ask."""

import hmac
import logging
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from diffes.errors import InvalidInput
from diffes.serving.keys import Keys
from tests.serving.conftest import Warm, client_of

ALICE, BOB = "alice-0123456789", "bob-0123456789abc"


@pytest.fixture
def guarded(idle: Warm) -> TestClient:
    """A service with two keys."""
    idle.keys = Keys.of([f"alice:{ALICE}", BOB], "test")
    return client_of(idle)


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {ALICE}"}, {"authorization": f"bearer {BOB}"}, {"X-API-Key": BOB}]
)
def test_every_key_opens_in_either_header(guarded: TestClient, headers: dict[str, str]) -> None:
    assert guarded.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, "found none"),
        ({"Authorization": "Bearer "}, "found one that is not known"),
        ({"Authorization": f"Bearer {ALICE}x"}, "found one that is not known"),
        ({"Authorization": f"Bearer alice:{ALICE}"}, "found one that is not known"),
        ({"Authorization": f"Basic {ALICE}"}, "found none"),
        ({"X-API-Key": "wrong"}, "found one that is not known"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/generate"),
        ("POST", "/generate/stream"),
        ("POST", "/v1/images/generations"),
        ("DELETE", "/v1/requests/img-1"),
        ("GET", "/v1/models"),
        ("GET", "/v1/info"),
        ("GET", "/nothing"),
    ],
)  # fmt: skip
def test_without_a_key_nothing_is_made_told_or_cancelled(
    guarded: TestClient, method: str, path: str, headers: dict[str, str], found: str
) -> None:
    answer = guarded.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)
    assert found in error["message"]
    assert ALICE not in answer.text


def test_a_body_is_not_read_before_the_key_is_known(guarded: TestClient) -> None:
    answer = guarded.post("/generate", content=b"x" * 70_000)
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/", "/openapi.json"])
def test_the_page_and_the_description_are_open(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_the_log_tells_the_name_of_a_key_and_never_the_key(
    guarded: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    guarded.get("/v1/models", headers={"Authorization": f"Bearer {ALICE}"})
    guarded.get("/v1/models", headers={"Authorization": f"Bearer {BOB}"})
    guarded.get("/v1/models", headers={"Authorization": "Bearer a-wrong-secret"})
    assert "GET /v1/models by key alice" in caplog.text
    assert "GET /v1/models by key #2" in caplog.text
    assert not any(secret in caplog.text for secret in (ALICE, BOB, "a-wrong-secret"))


def test_every_known_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """No early exit: the first key takes as many comparisons as the last and as a wrong one."""
    keys, compared = Keys.of([f"k{i:015}" for i in range(5)], "test"), list[bytes]()
    real = hmac.compare_digest

    def compare(known: bytes, presented: bytes) -> bool:
        compared.append(known)
        return real(known, presented)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for presented in (f"k{0:015}", f"k{4:015}", "wrong", "\udcff"):
        compared.clear()
        keys.name_of(presented)
        assert len(compared) == 5


@pytest.mark.parametrize("entry", ["", "short", "a name:", f":{ALICE}", f"a:{ALICE} x", f"a:{ALICE}\u00e9"])
def test_a_malformed_key_is_refused_by_its_number(entry: str) -> None:
    with pytest.raises(InvalidInput, match="invalid test: .*found something else as entry 2"):
        Keys.of([BOB, entry], "test")


def test_a_file_holds_a_key_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# the team\nalice:{ALICE}\n\n{BOB}\n")
    keys = Keys.read(file, "test")
    assert (keys.name_of(ALICE), keys.name_of(BOB)) == ("alice", "#2")
    file.write_text("# nobody\n")
    with pytest.raises(InvalidInput, match="expected one key or more, found none"):
        Keys.read(file, "test")
    with pytest.raises(InvalidInput, match="expected a file of keys, found .*FileNotFoundError"):
        Keys.read(tmp_path / "missing", "test")


def test_no_two_keys_share_a_name() -> None:
    with pytest.raises(InvalidInput, match="expected different names"):
        Keys.of([f"alice:{ALICE}", f"alice:{BOB}"], "test")

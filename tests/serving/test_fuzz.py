"""Whatever bytes come, the answer is a refusal in one shape, never a 5xx."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from diffes.serving.calls import MAX_BODY
from diffes.serving.openai_schema import ImagesBody
from diffes.serving.schema import GenerateBody
from tests.serving.conftest import Warm, client_of

PATHS = ("/generate", "/generate/stream", "/v1/images/generations")
FIELDS = sorted({*GenerateBody.model_fields, *ImagesBody.model_fields})
LONG = "9" * 4000  # digits: fewer than Python refuses

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, 1, -1, 1e308, 1e-320, 2**31, 2**63, 10**400]),
)
texts = st.one_of(
    st.text(st.characters(), max_size=30), st.sampled_from(["ship", "\x00", "9" * 5000, "\ud800", "a" * 2001])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def require_refusal(answer: Any) -> dict[str, Any]:
    """The error of a 4xx in our shape."""
    assert 400 <= answer.status_code < 500, answer.text[:500]
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert len(error["message"]) < 1500
    return error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "\\ud800 ship"}',
        b'{"prompt": "ship", "schedule": "\\udfff", "model": "\\udfff"}',
        b'{"prompt": "ship", "\\ud800": 1}',
        b'{"prompt": "ship", "n": 1, "n": 2}',
        b'{"prompt": "ship", "seed": {"a": 1, "a": 1}}',
        b'{"prompt": "ship", "timeout_s": 1e400}',
        b'{"prompt": "ship", "guidance": -Infinity}',
        b'{"prompt": "ship", "seed": 1' + b"0" * 50_000 + b"}",
        b'{"label": ' * 5000 + b"1" + b"}" * 5000,
        b'{"prompt": "\xff"}',
        b'\xef\xbb\xbf{"prompt": "ship"}',
        '{"prompt": "ship"}'.encode("utf-16"),
        b'{"prompt": "ship"}{}',
        b"\x00",
    ],
    ids=[
        "surrogate", "surrogate in a name", "surrogate in a key", "key twice", "key twice inside", "beyond a double",
        "infinity", "digits beyond Python's limit", "nested", "no utf-8", "byte order mark", "utf-16", "two documents",
        "nul",
    ],
)  # fmt: skip
def test_what_parsers_would_read_in_different_ways_is_malformed(client: TestClient, path: str, body: bytes) -> None:
    assert require_refusal(client.post(path, content=body))["code"] == "malformed_json"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "value", ['"\\u0000"', f'"{LONG}9999"', LONG, f"-{LONG}", '"' + "a" * 60_000 + '"', "1e-320", "[]", "{}", "-1"]
)
def test_extreme_values_of_every_field_are_refused_or_served(client: TestClient, path: str, value: str) -> None:
    for field in FIELDS:
        subject = "" if field == "prompt" else '"prompt": "ship", '
        answer = client.post(path, content=f'{{{subject}"{field}": {value}}}'.encode())
        expired = value == "1e-320" and answer.status_code == 504
        assert answer.status_code < 500 or expired, (field, answer.text[:300])
        if answer.status_code != 200:
            assert len(answer.content) < 2000


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "Application/JSON; charset=UTF-8"}, 200),
        ({"Content-Type": "application/problem+json"}, 200),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 200),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
def test_a_body_that_is_said_to_be_something_else_is_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/generate", content=b'{"label": 1}', headers=headers)
    assert answer.status_code == status
    if status == 415:
        assert require_refusal(answer)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("declared", [str(MAX_BODY + 1), "9" * 5000])
def test_a_body_that_is_declared_too_large_is_refused_unread(client: TestClient, declared: str) -> None:
    answer = client.post("/generate", content=b'{"label": 1}', headers={"Content-Length": declared})
    assert answer.status_code == 413
    assert require_refusal(answer)["code"] == "body_too_large"


@quick
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=300))
def test_bytes_that_are_no_json_object_are_refused(idle: Warm, path: str, body: bytes) -> None:
    require_refusal(client_of(idle).post(path, content=body))


@quick
@given(path=st.sampled_from(PATHS), document=st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
def test_objects_of_known_fields_with_any_values_are_refused(idle: Warm, path: str, document: dict[str, Any]) -> None:
    """The subject is a class that is not there, so that none is served."""
    document = {name: value for name, value in document.items() if name not in ("label", "prompt", "class_label")}
    body = json.dumps(document | {"prompt": "nothing"}).encode()
    require_refusal(client_of(idle).post(path, content=body))


@quick
@given(
    name=st.sampled_from(
        ["accept", "content-type", "content-encoding", "content-length", "authorization", "x-api-key"]
    ),
    value=st.binary(max_size=60).filter(lambda value: not {*b"\r\n\x00"} & {*value}),
)
def test_no_header_is_more_than_refused(idle: Warm, name: str, value: bytes) -> None:
    for path in PATHS:
        require_refusal(client_of(idle).post(path, content=b"{", headers={name.encode(): value}))
    assert client_of(idle).get("/v1/info", headers={name.encode(): value}).status_code < 500


@quick
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_no_id_is_more_than_unknown(idle: Warm, request_id: str) -> None:
    answer = client_of(idle).delete(f"/v1/requests/{quote(request_id, safe='')}")
    assert answer.status_code in (404, 405)

"""The playground's response: one page, a policy that allows it alone, and a script that fits it and the API."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from diffes.serving.playground import page
from diffes.serving.schema import GenerateBody
from tests.serving.conftest import Warm, client_of

FOLDER = Path(page.__file__).parent
OWN_FIELDS = {"subject", "random", "compare"}  # of the form, not of the API


@pytest.fixture
def html(client: TestClient) -> str:
    """What `/` answers."""
    return client.get("/").text


def test_the_page_is_there_even_while_the_service_warms_up(idle: Warm) -> None:
    idle.ready = False
    answer = client_of(idle).get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_policy_allows_what_the_page_holds_and_nothing_else(client: TestClient, html: str) -> None:
    policy = client.get("/").headers["content-security-policy"]
    directives = {name: sources.split() for name, _, sources in (d.strip().partition(" ") for d in policy.split(";"))}
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        held = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert directives.pop(directive) == [
            f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in held
        ]
        assert held
    assert directives == {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }


def test_the_page_is_whole_and_names_no_other_host(html: str) -> None:
    assert not re.search(r"https?:|url\(|@import|\b(?:src|href)=[\"']?//", html)
    assert re.findall(r'(?:src|href)="([^"]*)"', html) == ["data:,"]
    for file in FOLDER.iterdir():
        if file.suffix in (".css", ".js"):
            assert file.read_text() in html


def test_every_id_the_scripts_use_is_there_once(html: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:byId|getElementById)\("([^"]+)"\)', html))
    assert len(used) > 5
    assert used | set(re.findall(r'<label for="([^"]+)"', html)) <= set(ids)


def test_the_form_asks_for_fields_of_the_api(html: str) -> None:
    names = set(re.findall(r'<(?:input|select)[^>]* name="([^"]+)"', html))
    assert names - OWN_FIELDS < GenerateBody.model_fields.keys()


def test_text_never_becomes_markup(html: str) -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval("):
        assert way not in html

"""OpenAI's official Python client against `bentoml serve`."""

import re
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import httpx
import openai
import pytest
from PIL import Image

from diffes.bundle import Bundle
from tests.service import Service, start


@pytest.fixture(scope="module")
def service(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server with room for one image between steps and one request that waits."""
    room = {"DIFFES_MAX_RUNNING": "1", "DIFFES_MAX_QUEUE": "1"}
    running = start(tmp_path_factory.mktemp("openai"), tiny_bundle.folder, **room)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.kill()


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none is asked for", max_retries=0) as client:
        yield client


def test_models_are_listed(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "diffes"
    assert all(name.startswith("diffes@") for name in names[1:])


def test_an_image_is_made_and_made_again(client: openai.OpenAI) -> None:
    first = client.images.generate(prompt="a ship", model="diffes", size="auto", response_format="b64_json")
    assert first.data
    assert first.data[0].b64_json
    assert Image.open(BytesIO(b64decode(first.data[0].b64_json))).size == (8, 8)
    assert first.model_extra
    again = client.images.generate(prompt="a ship", extra_body={"seed": first.model_extra["seed"]})
    assert again.data
    assert again.data[0].b64_json == first.data[0].b64_json


def test_partial_images_are_streamed(client: openai.OpenAI) -> None:
    stream = client.images.generate(prompt="a ship", stream=True, partial_images=2, extra_body={"seed": 1})
    kinds = []
    for event in stream:
        kinds.append(event.type)
        assert Image.open(BytesIO(b64decode(event.b64_json))).size == (8, 8)
    assert kinds[-1] == "image_generation.completed"
    assert 1 <= kinds.count("image_generation.partial_image") == len(kinds) - 1 <= 2


def test_a_wrong_value_is_an_error_with_param_and_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(prompt="a ship", size="512x512")
    assert (raised.value.param, raised.value.code) == ("size", "invalid_value")
    assert raised.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(prompt="a ship", model="dall-e-3")
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")


def test_who_finds_the_queue_full_comes_back_when_told_to_and_gets_an_image(service: Service) -> None:
    """Six callers where two have room: each is served, and some were told to wait."""

    def ask(seed: int) -> bool:
        made = patient.images.generate(prompt="a ship", extra_body={"seed": seed, "steps": 400}, timeout=120)
        return bool(made.data)

    with (
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="x", max_retries=20) as patient,
        ThreadPoolExecutor(6) as callers,
    ):
        assert all(callers.map(ask, range(6)))
    scrape = httpx.get(f"{service.url}/metrics").text
    (rejected,) = re.findall(r'^diffes_rejected_total\{reason="queue_full"\} (.+)$', scrape, re.MULTILINE)
    assert float(rejected) > 0

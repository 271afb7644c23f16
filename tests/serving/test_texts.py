"""What a service answers whose model reads texts."""

from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO

import pytest
from PIL import Image
from starlette.testclient import TestClient

from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.serving.app import create_app
from tests.serving.conftest import Warm


@pytest.fixture(scope="module")
def texts(tiny_sdxl_sized: Bundle) -> Iterator[TestClient]:
    """In front of the tiny text-to-image model."""
    runtime = Warm(tiny_sdxl_sized, open_backend("onnxruntime", tiny_sdxl_sized))
    runtime.engine.start()
    with TestClient(create_app(lambda: runtime)) as client:
        yield client
    runtime.engine.close(drain=False)


ASKED = {"prompt": "a red cat", "seed": 3, "steps": 2, "response": "json"}


def image(client: TestClient, **asked: object) -> bytes:
    answer = client.post("/generate", json={**ASKED, **asked})
    assert answer.status_code == 200, answer.text
    return b64decode(answer.json()["images"][0])


def test_texts_say_what_is_made_and_what_is_not(texts: TestClient) -> None:
    plain = image(texts)

    assert image(texts) == plain
    assert image(texts, prompt="a dog") != plain
    assert image(texts, negative_prompt="a dog") != plain
    assert image(texts, negative_prompt="a dog", guidance=1) == image(texts, guidance=1)


def test_the_answer_repeats_the_texts(texts: TestClient) -> None:
    told = texts.post("/generate", json={**ASKED, "negative_prompt": "a dog"}).json()

    assert (told["prompt"], told["negative_prompt"], told["label"]) == ("a red cat", "a dog", None)


def test_openai_clients_send_the_same_texts(texts: TestClient) -> None:
    asked = {"prompt": "a red cat", "negative_prompt": "a dog", "seed": 3, "steps": 2}
    answer = texts.post("/v1/images/generations", json=asked).json()

    assert b64decode(answer["data"][0]["b64_json"]) == image(texts, negative_prompt="a dog")


def test_a_class_is_refused_by_name(texts: TestClient) -> None:
    native = texts.post("/generate", json={"label": 3})
    openai = texts.post("/v1/images/generations", json={"prompt": "a cat", "class_label": "cat"})

    assert [answer.status_code for answer in (native, openai)] == [422, 400]
    assert "reads texts" in native.json()["error"]["message"]
    assert "reads texts" in openai.json()["error"]["message"]


def test_what_can_be_asked_for_are_texts(texts: TestClient) -> None:
    told = texts.get("/v1/info").json()

    assert told["labels"] == []
    assert told["sizes"] == ["16x16", "24x16", "16x32"]
    assert told["texts"] == ["a red cat", "a dog", "two birds on a roof", "nothing"]


def test_images_are_of_the_size_that_was_asked_for(texts: TestClient) -> None:
    native = texts.post("/generate", json={**ASKED, "size": "24x16"}).json()
    openai = texts.post("/v1/images/generations", json={"prompt": "a red cat", "seed": 3, "steps": 2, "size": "24x16"})

    assert native["size"] == openai.json()["size"] == "24x16"
    assert native["images"][0] == openai.json()["data"][0]["b64_json"]
    assert Image.open(BytesIO(b64decode(native["images"][0]))).size == (24, 16)
    assert texts.post("/generate", json=ASKED).json()["size"] == "16x16"


@pytest.mark.parametrize("size", ["32x32", "16", "16X16", "-1x2", "1e1x16"])
def test_other_sizes_are_refused_by_name(texts: TestClient, size: str) -> None:
    answers = [
        texts.post("/generate", json={**ASKED, "size": size}),
        texts.post("/v1/images/generations", json={"prompt": "a cat", "size": size}),
    ]

    assert [answer.status_code for answer in answers] == [422, 400]
    assert [answer.json()["error"]["param"] for answer in answers] == ["size", "size"]


FRAMED = {"original_size": "64x32", "crops_coords_top_left": [1, 2]}
OTHERS = {"negative_original_size": "8x8", "negative_target_size": "4x4"}


def test_what_was_cut_is_told_and_repeated(texts: TestClient) -> None:
    framed = texts.post("/generate", json={**ASKED, **FRAMED, **OTHERS}).json()
    openai = texts.post(
        "/v1/images/generations", json={"prompt": "a red cat", "seed": 3, "steps": 2, **FRAMED, **OTHERS}
    )

    assert {name: framed[name] for name in (FRAMED | OTHERS)} == FRAMED | OTHERS
    assert framed["target_size"] is None
    assert framed["images"][0] == openai.json()["data"][0]["b64_json"]
    images = {framed["images"][0], texts.post("/generate", json={**ASKED, **FRAMED}).json()["images"][0]}
    assert len(images | {texts.post("/generate", json=ASKED).json()["images"][0]}) == 3


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"original_size": "64"}, "original_size"),
        ({"target_size": "0x4"}, "target_size"),
        ({"crops_coords_top_left": [1]}, "crops_coords_top_left"),
        ({"crops_coords_top_left": [1, -2]}, "crops_coords_top_left"),
        ({"crops_coords_top_left": [1, 2.5]}, "crops_coords_top_left"),
        ({"negative_original_size": "8x8"}, "negative_target_size"),
        ({"negative_target_size": "8x8"}, "negative_original_size"),
        ({"negative_crops_coords_top_left": [0, 0]}, "negative_original_size"),
    ],
)
def test_framings_that_are_none_are_refused_by_name(texts: TestClient, asked: dict[str, object], field: str) -> None:
    native = texts.post("/generate", json={**ASKED, **asked})
    openai = texts.post("/v1/images/generations", json={"prompt": "a cat", **asked})

    assert [native.status_code, openai.status_code] == [422, 400]
    assert native.json()["error"]["param"] == openai.json()["error"]["param"] == field


def test_a_framing_means_nothing_to_a_model_that_knows_classes(client: TestClient) -> None:
    answer = client.post("/generate", json={"label": 3, **FRAMED})

    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "original_size"


def test_a_negative_prompt_means_nothing_to_a_model_that_knows_classes(client: TestClient) -> None:
    answer = client.post("/generate", json={"label": 3, "negative_prompt": "a dog"})

    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "negative_prompt"

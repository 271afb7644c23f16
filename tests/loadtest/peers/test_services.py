"""Both peers for real: processes, asked over HTTP, stopped."""

import ast
from base64 import b64decode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

import loadtest.peers
from diffes.bundle import Bundle
from diffes.engine.request import Request
from diffes.errors import LoadTestError
from loadtest.peers.start import PEERS, PeerName, start_peer
from loadtest.service import Service
from tests.conftest import LABELS
from tests.loadtest.peers.dense import Levels, dense_levels, distance, levels_of
from tests.prompting import of_label

WRONG: list[Any] = [
    {"label": 10, "seed": 0},
    {"label": -1, "seed": 0},
    {"label": "ship", "seed": 0},
    {"label": 0},
    {"label": 0, "seed": 2**32},
    {"label": 0, "seed": 0, "n": 17},
    {"label": 0, "seed": 0, "steps": 1001},
    {"label": 0, "seed": 0, "guidance": 0.5},
    {"label": 0, "seed": 0, "schedule": "fast"},
    {"label": 0, "seed": 0, "previews": 1},
    {"label": 0, "seed": 0, "response": "png"},
    [],
]


@pytest.fixture(scope="module")
def services(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[PeerName, Service]]:
    """Both, ready; they start side by side."""
    folder = tmp_path_factory.mktemp("peers")
    started = {name: start_peer(name, model_folder, folder / name, threads=1) for name in PEERS}
    try:
        for service in started.values():
            service.wait_until_ready()
        yield started
    finally:
        for service in started.values():
            service.kill()


@pytest.fixture(params=PEERS)
def service(request: pytest.FixtureRequest, services: Mapping[PeerName, Service]) -> Service:
    """One of them."""
    return services[request.param]


def asked(service: Service, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request is answered."""
    answer = httpx.post(f"{service.url}/generate", json=dict(body), timeout=60)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def images_of(answer: Mapping[str, Any]) -> list[Levels]:
    """Of an answer, as grey levels."""
    return [levels_of(Image.open(BytesIO(b64decode(image)))) for image in answer["images"]]


def test_both_make_the_images_of_the_dense_schedule(services: Mapping[PeerName, Service], dense_bundle: Bundle) -> None:
    expected = dense_levels(dense_bundle, Request(prompt=of_label(8), seed=3, images=2, schedule="dense"))
    body = {"label": 8, "seed": 3, "n": 2, "response": "json"}
    answers = {name: asked(service, body) for name, service in services.items()}
    assert answers["fastapi"]["images"] == answers["bentoml"]["images"]
    for image, dense in zip(images_of(answers["fastapi"]), expected, strict=True):
        assert distance(image, dense) <= 1


def test_steps_and_guidance_are_taken(service: Service, dense_bundle: Bundle) -> None:
    request = Request(prompt=of_label(2), seed=9, steps=5, guidance=3.0, schedule="dense")
    answer = asked(service, {"label": 2, "seed": 9, "steps": 5, "guidance": 3, "schedule": "dense"})
    assert (answer["steps"], answer["guidance"], answer["schedule"]) == (5, 3.0, "dense")
    (dense,), (image,) = dense_levels(dense_bundle, request), images_of(answer)
    assert distance(image, dense) <= 1


def test_it_tells_what_can_be_asked_for(service: Service) -> None:
    assert httpx.get(f"{service.url}/v1/info").json() == {
        "labels": list(LABELS),
        "schedules": {"dense": {"steps": 20, "guidance": 1.5}},
        "default": "dense",
        "model": "DiTTransformer2DModel",
        "backend": "diffusers",
    }


def test_wrong_input_is_refused(service: Service) -> None:
    for body in WRONG:
        answer = httpx.post(f"{service.url}/generate", json=body)
        assert answer.status_code in (400, 422), body
    answer = httpx.post(f"{service.url}/generate", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert httpx.post(f"{service.url}/generate/stream", json={"label": 0, "seed": 0}).status_code == 404


def test_several_at_once_are_all_answered(service: Service) -> None:
    bodies = [{"label": seed % 10, "seed": seed, "steps": 4} for seed in range(50)]
    with ThreadPoolExecutor(len(bodies)) as callers:
        answers = list(callers.map(lambda body: asked(service, body), bodies))
        assert httpx.get(f"{service.url}/readyz").status_code == 200
    assert [answer["seed"] for answer in answers] == list(range(50))
    assert answers[7]["images"] == asked(service, bodies[7])["images"]


@pytest.mark.parametrize("name", PEERS)
def test_it_ends_by_itself_if_its_model_cannot_be_opened(
    tiny_model_folder: Path, tmp_path: Path, name: PeerName
) -> None:
    damaged = Path(copytree(tiny_model_folder, tmp_path / "damaged"))
    weights = damaged / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    service = start_peer(name, damaged, tmp_path)
    try:
        with pytest.raises(LoadTestError, match=r"(?s)that it ended.*diffusion_pytorch_model"):
            service.wait_until_ready(60)
    finally:
        service.kill()


@pytest.mark.parametrize("module", ["pipeline", "peer", "fastapi_service", "bentoml_service"])
def test_nothing_of_diffes_is_in_a_peers_process(module: str) -> None:
    source = Path(loadtest.peers.__path__[0], f"{module}.py").read_text()
    nodes = list(ast.walk(ast.parse(source)))
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name.startswith(("diffes", "export", "search", "loadtest"))}
    assert ours <= {"loadtest.peers.pipeline", "loadtest.peers.peer"}


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="holds no model"):
        start_peer("fastapi", tmp_path, tmp_path)


def test_sigterm_ends_it_and_leaves_nobody(service: Service) -> None:
    processes = service.processes()
    assert service.terminate() == 0
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []

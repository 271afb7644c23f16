"""The real thing: `bentoml serve` on a real bundle, asked over HTTP, stopped."""

import re
import shutil
import time
from collections.abc import Iterator
from io import BytesIO

import httpx
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from diffes.bundle import Bundle
from diffes.serving.instruments import EngineInstruments, FrontInstruments
from diffes.serving.metrics import executed_stages
from tests.service import Service, start


@pytest.fixture(scope="module")
def refused(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server told to serve a bundle with one flipped byte."""
    folder = tmp_path_factory.mktemp("refused")
    damaged = folder / "bundle"
    shutil.copytree(tiny_bundle.folder, damaged)
    blob = damaged / tiny_bundle.manifest.blob.file
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    service = start(folder, damaged)
    yield service
    service.kill()


@pytest.fixture(scope="module")
def service(tiny_bundle: Bundle, refused: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A ready server; it and the refused one start side by side. It would show what it tells BentoML's makers."""
    assert refused.process
    running = start(tmp_path_factory.mktemp("served"), tiny_bundle.folder, __BENTOML_DEBUG_USAGE="true")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.kill()


def test_an_image_comes_over_http(service: Service) -> None:
    answer = httpx.post(f"{service.url}/generate", json={"label": "ship", "seed": 3}, timeout=60)
    assert answer.status_code == 200
    assert Image.open(BytesIO(answer.content)).size == (8, 8)
    again = httpx.post(f"{service.url}/generate", json={"prompt": "a ship", "seed": 3}, timeout=60)
    assert again.content == answer.content


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/generate", 400), ("GET", "/nothing", 404), ("PUT", "/generate", 405)]
)
def test_refusals_keep_our_shape_behind_bentoml(service: Service, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{service.url}{path}", content=b"{")
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_metrics_show_every_executed_stage_and_no_stray_path(service: Service, tiny_bundle: Bundle) -> None:
    httpx.get(f"{service.url}/wp-login.php")
    httpx.post(f"{service.url}/generate", json={"label": 0, "schedule": "dense"}, timeout=60)
    httpx.post(f"{service.url}/generate", json={"label": 0}, timeout=60)
    text = httpx.get(f"{service.url}/metrics").text
    stages = executed_stages(tiny_bundle)
    assert len(stages) > 1
    for stage in stages:
        series = f'backend="onnxruntime",schedule="{stage.schedule}",stage="{stage.stage}"'
        (line,) = (line for line in text.splitlines() if line.startswith(f"diffes_step_seconds_count{{{series}}}"))
        assert float(line.split()[-1]) > 0
    assert "wp-login" not in text
    registries = CollectorRegistry(), CollectorRegistry()
    FrontInstruments(registries[0])
    EngineInstruments(registries[1])
    assert {f"# TYPE {metric.name}" for declared in registries for metric in declared.collect()} <= {
        line.rsplit(" ", 1)[0].removesuffix("_total") for line in text.splitlines() if line.startswith("# TYPE")
    }
    assert "\ndiffes_ready 1.0\n" in text
    (resident,) = re.findall(r"\ndiffes_resident_bytes (\S+)", text)
    assert float(resident) > 10e6
    assert 'diffes_requests_total{status="done"}' in text


def test_a_client_that_leaves_is_noticed_and_its_steps_are_not_taken(service: Service) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{service.url}/generate", json={"label": 0, "n": 16, "steps": 1000}, timeout=0.3)
    deadline = time.monotonic() + 30
    while 'diffes_requests_total{status="cancelled"} 1.0' not in httpx.get(f"{service.url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (taken,) = re.findall(r"diffes_step_rows_count (\S+)", httpx.get(f"{service.url}/metrics").text)
    assert float(taken) < 4 * 1000  # the batches that 16 images of 1000 steps would have taken


def test_a_damaged_bundle_is_refused_at_the_start(refused: Service) -> None:
    assert refused.end() == 1
    assert "weights.safetensors" in refused.text()
    assert "is damaged: expected sha256" in refused.text()


def test_nothing_is_told_to_bentomls_makers_and_sigterm_ends_it_cleanly(service: Service) -> None:
    assert service.terminate() == 0
    assert "Tracking Payload" not in service.text()
    assert "Completed async cleanup hook: finish" in service.text()

"""A service with keys and a small queue: its own description, a crowd, and SIGTERM while requests are inside."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from diffes.bundle import Bundle
from tests.service import Service, start

KEY = "team-0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {KEY}"}
DRAIN_SECONDS = 3
CHECKS = (
    "not_a_server_error",
    "content_type_conformance",
    "ignored_auth",
    "negative_data_rejection",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def service(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A ready server that lets 32 requests wait, and asks for a key."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "keys").write_text(f"team:{KEY}\n")
    file = folder / "diffes.toml"
    file.write_text(f'max_queue = 32\nmax_running = 8\ndrain_seconds = {DRAIN_SECONDS}\napi_keys_file = "keys"\n')
    running = start(folder, tiny_bundle.folder, DIFFES_CONFIG=str(file))
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.kill()


def test_every_answer_is_as_described_and_none_is_a_failure(service: Service, tmp_path: Path) -> None:
    """Subjects are classes that exist, so that some requests are served; the rest is what schemathesis makes up."""
    document = httpx.get(f"{service.url}/openapi.json").json()
    schemas = document["components"]["schemas"]
    schemas["GenerateBody"]["properties"]["label"] = {"enum": ["ship", 3, "cat"]}
    schemas["ImagesBody"]["properties"]["prompt"] = {"enum": ["a ship", "cat"]}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", service.url, "--no-color"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--checks", ",".join(CHECKS)]
    command += ["--phases", "coverage,fuzzing", "--max-examples", "25", "--seed", "1"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 selected / 6 total" in run.stdout


def test_the_openai_client_needs_the_key(service: Service) -> None:
    right = openai.OpenAI(base_url=f"{service.url}/v1", api_key=KEY, max_retries=0)
    assert right.models.list().data[0].id == "diffes"
    assert right.images.generate(prompt="a ship").data
    wrong = openai.OpenAI(base_url=f"{service.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as raised:
        wrong.images.generate(prompt="a ship")
    assert raised.value.code == "invalid_api_key"
    assert httpx.get(f"{service.url}/v1/models").status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json"])
def test_probes_and_metrics_need_none(service: Service, path: str) -> None:
    assert httpx.get(service.url + path).status_code == 200


def test_of_200_clients_every_one_gets_an_image_or_is_told_when_to_come_back(service: Service) -> None:
    together = threading.Barrier(200)

    def ask(seed: int) -> int:
        with httpx.Client(headers=HEADERS, timeout=120) as client:
            together.wait(60)
            answer = client.post(f"{service.url}/generate", json={"label": "ship", "seed": seed, "steps": 50})
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 120
            assert answer.json()["error"]["code"] == "queue_full"
        return answer.status_code

    with ThreadPoolExecutor(200) as crowd:
        statuses = Counter(crowd.map(ask, range(200)))
    assert statuses.keys() == {200, 429}
    assert statuses[200] >= 32


def test_on_sigterm_what_can_be_done_is_done_and_the_rest_is_told_to_be_sent_again(service: Service) -> None:
    """Short requests end in images, endless ones in 503, later ones in 503 at once; then the process ends."""
    answers: list[tuple[str, httpx.Response]] = []

    def ask(name: str, **body: object) -> None:
        asked = {"label": "ship"} | body
        answers.append((name, httpx.post(f"{service.url}/generate", json=asked, headers=HEADERS, timeout=60)))

    endless = [threading.Thread(target=ask, args=("endless",), kwargs={"n": 16, "steps": 1000}) for _ in range(12)]
    short = [threading.Thread(target=ask, args=("short",), kwargs={"steps": 200}) for _ in range(2)]
    for name, callers, inside in (("short", short, 2), ("endless", endless, 16)):
        for caller in callers:
            caller.start()
        # who comes first is served first, and the endless leave no room
        while running(service) < inside and all(answered != name for answered, _ in answers):
            time.sleep(0.01)
    service.process.terminate()
    late = refused_since_it_ends(service)
    assert int(late.headers["retry-after"]) >= 1
    assert late.json()["error"]["code"] == "not_ready"
    for caller in [*short, *endless]:
        caller.join(timeout=60)
    assert service.end() == 0
    assert len(answers) == 14
    refused = [answer for _, answer in answers if answer.status_code != 200]
    assert all(answer.status_code == 200 for name, answer in answers if name == "short")
    codes = {(answer.status_code, answer.json()["error"]["code"]) for answer in refused}
    assert (503, "closing") in codes
    assert codes <= {(503, "closing"), (503, "not_ready")}  # a slow machine's last callers come after the end began
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


def running(service: Service) -> float:
    """Images between two steps."""
    metrics = httpx.get(f"{service.url}/metrics").text
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("diffes_images_running "))


def refused_since_it_ends(service: Service) -> httpx.Response:
    """The first refusal of a service that has been told to end; it is not ready by then."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        answer = httpx.get(f"{service.url}/v1/info", headers=HEADERS)
        if answer.status_code == 503:
            assert httpx.get(f"{service.url}/readyz").status_code == 503
            return answer
    raise AssertionError("it went on as before")

"""The playground in a real browser: in front of `bentoml serve`, and of an engine that a test holds still."""

import asyncio
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import Thread

import httpx
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.engine.request import Request
from diffes.serving.app import create_app
from diffes.serving.keys import Keys
from tests.prompting import of_label
from tests.service import Service, free_port, start
from tests.serving.conftest import Warm
from tests.serving.waiting import wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless, one for all."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The ten-stage bundle behind `bentoml serve`."""
    running = start(tmp_path_factory.mktemp("played"), tiny_bundle.folder)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.kill()


@pytest.fixture
def complaints() -> list[str]:
    """What the console said that it should not, once a test is over; a test takes out what it provoked."""
    return []


@pytest.fixture
def tab(browser: Browser, complaints: list[str]) -> Iterator[Page]:
    """An empty page whose console must stay silent."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(30_000)
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


@pytest.fixture
def page(service: Service, tab: Page) -> Page:
    """The playground, its form ready."""
    tab.goto(service.url)
    expect(tab.get_by_role("button", name="Generate")).to_be_enabled()
    return tab


def keep_busy(service: Service) -> None:
    """Ask for images that take longer than a test, from a client that waits for none of them."""
    body = {"label": 0, "n": 16, "steps": 1000}
    for _ in range(4):
        Thread(target=_ask, args=(f"{service.url}/generate", body), daemon=True).start()


def _ask(url: str, body: dict[str, int]) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(url, json=body, timeout=120)


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate").click()


def expected_failures(complaints: list[str], status: int) -> None:
    """The browser itself says on the console that an answer was no success: that is what was provoked."""
    assert complaints
    assert all(f"status of {status}" in complaint for complaint in complaints)
    complaints.clear()


def shares(page: Page, panel: str) -> list[float]:
    """Widths of a panel's bars, in hundredths of their lane."""
    bars = page.locator(f"[data-schedule={panel}] .bar")
    widths: list[float] = bars.evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    return widths


def test_an_image_comes_with_previews_its_timeline_and_what_makes_it_again(page: Page, service: Service) -> None:
    page.locator("select[name=label]").select_option("ship")
    page.get_by_label("Previews").fill("3")
    generate(page)
    panel = page.locator(".panel.done")
    expect(panel.locator(".previews img")).to_have_count(3)
    assert panel.locator(".picture").evaluate("image => image.naturalWidth") == 8
    assert "crisp" in (panel.locator(".picture").get_attribute("class") or "")
    expect(panel.locator("tbody tr")).to_have_count(10)
    assert panel.locator("tbody td:nth-child(2)").first.text_content() == "dense"
    assert re.fullmatch(r"\d+ %", panel.locator("tbody td:nth-child(2)").nth(4).text_content() or "")
    assert sum(shares(page, "mixed")) == pytest.approx(100, abs=0.1)
    seed = panel.locator("[data-fact=Seed]").text_content()
    assert page.get_by_label("Seed", exact=True).input_value() == seed
    curl = panel.locator(".curl").text_content() or ""
    assert f"{service.url}/generate" in curl
    assert f'"label":8,"size":"8x8","schedule":"mixed","steps":20,"guidance":1.5,"seed":{seed}' in curl


def test_what_is_downloaded_is_the_image_that_the_curl_command_makes(page: Page, tmp_path: Path) -> None:
    page.get_by_role("radio", name="Prompt").check()
    page.locator("input[name=prompt]").fill("a photo of a horse")
    generate(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert re.fullmatch(r"horse-\d+-mixed\.png", download.value.suggested_filename)
    download.value.save_as(tmp_path / "downloaded.png")
    command, address, _, body, _, file = shlex.split(page.locator(".curl").text_content() or "")
    assert (command, file) == ("curl", download.value.suggested_filename)
    again = Image.open(BytesIO(httpx.post(address, content=body, timeout=60).content))
    assert again.tobytes() == Image.open(tmp_path / "downloaded.png").tobytes()


def test_dense_is_shown_beside_the_schedule_for_the_same_seed_on_one_scale(page: Page) -> None:
    page.get_by_label("Random seed").uncheck()
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_label("Steps", exact=True).fill("10")
    page.get_by_label("Compare with dense").check()
    generate(page)
    expect(page.locator("#verdict")).to_contain_text("times as fast as dense, from the same seed")
    expect(page.locator(".panel.done")).to_have_count(2)
    for name in ("mixed", "dense"):
        panel = page.locator(f"[data-schedule={name}]")
        expect(panel.locator("[data-fact=Seed]")).to_have_text("7")
        expect(panel.locator("[data-fact=Sampling]")).to_have_text("10 steps, guidance 1.5")
    assert max(sum(shares(page, "mixed")), sum(shares(page, "dense"))) == pytest.approx(100, abs=0.1)
    assert len(set(page.locator(".scale .end").all_text_contents())) == 1
    lanes = page.locator(".timeline .scale").evaluate_all("lanes => lanes.map(lane => lane.clientWidth)")
    assert lanes[0] == lanes[1] > 100
    sources = page.locator(".picture").evaluate_all("images => images.map(image => image.src)")
    assert len(set(sources)) == 2


def test_dense_is_not_compared_with_itself(page: Page) -> None:
    page.get_by_label("Schedule").select_option("dense")
    expect(page.get_by_label("Compare with dense")).to_be_disabled()
    expect(page.locator("#compare-why")).to_have_text("This schedule is the dense one.")


def test_a_wrong_value_is_told_at_its_field_and_can_be_corrected(page: Page, complaints: list[str]) -> None:
    page.get_by_label("Steps", exact=True).fill("5000")
    generate(page)
    steps = page.get_by_label("Steps", exact=True)
    expect(steps).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#steps-error")).to_contain_text("expected 1..1000, found 5000")
    expected_failures(complaints, 422)
    steps.fill("4")
    generate(page)
    expect(page.locator(".panel.done")).to_have_count(1)
    expect(page.locator("#steps-error")).to_be_hidden()


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    generate(page)
    expect(page.locator(".panel.done")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@contextmanager
def at_an_address(runtime: Warm) -> Iterator[str]:
    """The app behind a real server."""
    app, port = create_app(lambda: runtime), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none", lifespan="off"))
    thread = Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    wait_for(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.force_exit = server.should_exit = True
    thread.join()


@pytest.fixture
def address(idle: Warm) -> Iterator[str]:
    """Of an engine that is not started."""
    with at_an_address(idle) as url:
        yield url


@pytest.fixture
def reader(tiny_sdxl_bundle: Bundle) -> Iterator[str]:
    """Of a model that reads texts."""
    runtime = Warm(tiny_sdxl_bundle, open_backend("onnxruntime", tiny_sdxl_bundle))
    runtime.engine.start()
    with at_an_address(runtime) as url:
        yield url
    runtime.engine.close(drain=False)


def test_a_model_that_reads_texts_is_told_one_and_what_not_to_show(reader: str, tab: Page) -> None:
    tab.goto(reader)
    expect(tab.get_by_role("button", name="Generate")).to_be_enabled()
    expect(tab.get_by_role("radio", name="Class")).to_be_hidden()
    expect(tab.get_by_role("combobox", name="Prompt")).to_have_value("a red cat")
    tab.get_by_role("textbox", name="Negative prompt").fill("a dog")
    tab.get_by_label("Steps").first.fill("2")
    tab.get_by_role("button", name="Generate").click()
    panel = tab.locator(".panel.done")
    expect(panel.locator('[data-fact="Prompt"]')).to_have_text("a red cat")
    expect(panel.locator('[data-fact="Negative prompt"]')).to_have_text("a dog")
    command = shlex.split(panel.locator(".curl").text_content() or "")
    asked = json.loads(command[command.index("-d") + 1])
    again = httpx.post(command[1], json=asked, timeout=60)
    shown = httpx.post(command[1], json={**asked, "prompt": "a dog"}, timeout=60)
    assert (asked["prompt"], asked["negative_prompt"]) == ("a red cat", "a dog")
    assert again.content != shown.content


def test_a_service_that_warms_up_is_waited_for(idle: Warm, address: str, tab: Page, complaints: list[str]) -> None:
    idle.ready = False
    tab.goto(address)
    expect(tab.locator("#notice")).to_contain_text("a service that is warming up")
    expect(tab.get_by_role("button", name="Generate")).to_be_disabled()
    idle.ready = True
    expect(tab.get_by_role("button", name="Generate")).to_be_enabled()
    expect(tab.locator("#notice")).to_be_hidden()
    expect(tab.locator("#compare-why")).to_contain_text("no schedule named dense")
    expected_failures(complaints, 503)


def test_a_service_with_keys_asks_for_one_until_it_is_right(
    runtime: Warm, address: str, tab: Page, complaints: list[str]
) -> None:
    runtime.keys = Keys.of(["team:0123456789abcdef"], "test")
    tab.goto(address)
    expect(tab.get_by_role("alert")).to_have_text("The service asks for an API key.")
    tab.get_by_label("API key", exact=True).last.fill("wrong")
    tab.get_by_role("button", name="Use").click()
    expect(tab.get_by_role("alert")).to_have_text("The service does not know this API key.")
    tab.get_by_label("API key", exact=True).last.fill("0123456789abcdef")
    tab.get_by_role("button", name="Use").click()
    generate(tab)
    expect(tab.locator(".panel.done .picture")).to_be_visible()
    assert "0123456789abcdef" not in (tab.locator(".curl").text_content() or "")
    assert "$DIFFES_API_KEY" in (tab.locator(".curl").text_content() or "")
    expected_failures(complaints, 401)


def test_cancelling_ends_the_steps_and_the_page_goes_on(idle: Warm, address: str, tab: Page) -> None:
    tab.goto(address)
    tab.get_by_label("Steps", exact=True).fill("10")
    tab.get_by_label("Previews").fill("0")
    generate(tab)
    wait_for(lambda: len(idle.engine._queue))
    for _ in range(3):
        idle.engine.step()
    expect(tab.locator(".state")).to_contain_text("Step 3 of 10, stage")
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.locator(".state")).to_have_text("Cancelled after step 3")
    assert idle.count("diffes_requests_total", status="cancelled") == 1
    idle.engine.start()
    generate(tab)
    expect(tab.locator(".panel.done")).to_have_count(1)


def test_a_full_queue_is_told_with_when_to_come_back(
    idle: Warm, address: str, tab: Page, complaints: list[str]
) -> None:
    tab.goto(address)
    for _ in range(2):
        idle.engine.submit(Request(prompt=of_label(0), seed=0))
    generate(tab)
    expect(tab.locator("#notice")).to_contain_text(re.compile(r"^429: .*Try again in \d+ s\."))
    expected_failures(complaints, 429)


def test_a_service_that_is_gone_is_told(address: str, tab: Page, complaints: list[str]) -> None:
    tab.goto(address)
    tab.route("**/generate/stream", lambda route: route.abort("connectionreset"))
    generate(tab)
    expect(tab.locator("#notice")).to_have_text("The service cannot be reached.")
    assert all("net::ERR" in complaint for complaint in complaints)
    complaints.clear()


def test_a_connection_lost_on_the_way_is_told(page: Page, service: Service, complaints: list[str]) -> None:
    keep_busy(service)
    page.get_by_label("Steps", exact=True).fill("1000")
    generate(page)
    expect(page.locator(".state")).to_contain_text(re.compile("In the queue|of 1000, stage"))
    service.kill()  # no test after this one asks it
    expect(page.locator("#notice")).to_contain_text("The connection was lost before the image was done.")
    expect(page.locator(".state")).to_have_text("No image")
    assert all("net::ERR" in complaint for complaint in complaints)
    complaints.clear()

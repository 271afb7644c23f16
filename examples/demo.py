"""The whole pipeline on a bundled model: search, export, serve, ask the service, look.

    make demo                      keeps serving until Ctrl-C
    make demo-text                 the same of the text-to-image model, and a load test of the service
    DEMO_ONESHOT=1 make demo       stops after the pictures

What an earlier run left in out/ is used again; `rm -r out` starts over.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table
from sheet import contact_sheet

MEMORY = 1.2  # times the dense weights, with all that makes up for what is pruned
PORT = 3000
READY_SECONDS = 120
SEED = 100  # of the first image
IMAGES = 10  # of each schedule

console = Console()


@dataclass(frozen=True)
class Answer:
    """One image from the service, and the seconds its stages took."""

    image: Image.Image
    stages: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class Wishes:
    """What is shown: a model (None: the bundled DiT), where its files go, how much it loses, guidance, more sizes."""

    model: Path | None
    out: Path
    macs: float
    guidance: float
    size: list[str]
    load_test: bool

    @classmethod
    def asked(cls) -> "Wishes":
        """The command line's."""
        parser = argparse.ArgumentParser(description="Search, export, serve, ask, show.")
        parser.add_argument("--model", type=Path, help="a model folder; default: the bundled DiT")
        parser.add_argument("--out", type=Path, default=Path("out"))
        parser.add_argument("--macs", type=float, default=0.375, help="share of MACs to remove")
        parser.add_argument("--guidance", type=float, default=1.5)
        parser.add_argument("--size", action="append", default=[], metavar="WxH", help="also serve images of this size")
        parser.add_argument("--load-test", action="store_true", help="load the service with the smoke test, too")
        return cls(**vars(parser.parse_args()))

    @property
    def named(self) -> list[str]:
        """The model, for a command."""
        return [] if self.model is None else [str(self.model)]

    @property
    def sampling(self) -> list[str]:
        """The guidance, for a command."""
        return ["--guidance", str(self.guidance)]


def main() -> None:
    """Search, export, serve, ask, show."""
    began, wishes = time.perf_counter(), Wishes.asked()
    schedule, bundle = wishes.out / "search" / "schedule.json", wishes.out / "bundle"
    _search(wishes, schedule)
    _export(wishes, schedule, bundle)
    port = _free_port()
    with _service(bundle, port, wishes.out / "serve.log") as url:
        info = _get(f"{url}/v1/info")
        subjects = _subjects(info)
        answers = {name: _ask_all(url, subjects, name) for name in (info["default"], "dense")}
        _show(info, answers, [caption for _, caption in subjects], wishes.out / "demo.png")
        if wishes.load_test:
            _load_test(wishes, url, bundle)
        console.print(f"done in {time.perf_counter() - began:.0f} s; pictures in {wishes.out / 'demo.png'}")
        if not os.environ.get("DEMO_ONESHOT"):
            key, caption = subjects[0]
            body = json.dumps({key: caption})
            console.print(f"serving on {url}/ until Ctrl-C; try\n  curl {url}/generate -d '{body}' -o x.png")
            _wait_for_interrupt()


def _subjects(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What images are asked of: a field of a request and its value."""
    if info["texts"]:
        return [("prompt", text) for text in info["texts"][:IMAGES]]
    return [("label", label) for label in info["labels"][:IMAGES]]


def _load_test(wishes: Wishes, url: str, bundle: Path) -> None:
    out = wishes.out / "loadtest"
    shutil.rmtree(out, ignore_errors=True)
    _diffes("loadtest", "smoke", "--url", url, "--bundle", str(bundle), "--out", str(out))


def _search(wishes: Wishes, schedule: Path) -> None:
    if schedule.exists():
        console.print(f"[bold]search[/]: {schedule} is there, using it")
        return
    judged = ["--objective", "features", "--memory", str(MEMORY)]
    command = ["search", *wishes.named, "--effort", "quick", *judged, "--macs", str(wishes.macs), *wishes.sampling]
    _diffes(*command, "--out", str(schedule.parent), *(["--resume"] if schedule.parent.exists() else []))


def _export(wishes: Wishes, schedule: Path, bundle: Path) -> None:
    if bundle.exists():
        console.print(f"[bold]export[/]: {bundle} is there, using it")
    else:
        sizes = [word for size in wishes.size for word in ("--size", size)]
        _diffes("export", *wishes.named, "--schedule", f"searched={schedule}", *sizes, "--out", str(bundle))
    _diffes("inspect", str(bundle))


def _diffes(*arguments: str) -> None:
    console.print(f"[bold]$ diffes {' '.join(arguments)}[/]")
    subprocess.run([sys.executable, "-m", "diffes", *arguments], check=True)


@contextmanager
def _service(bundle: Path, port: int, log: Path) -> Iterator[str]:
    """The service as a user starts it, until the block ends."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "diffes", "serve", str(bundle), "--port", str(port)]
    console.print(f"[bold]$ diffes serve {bundle} --port {port}[/]  (log: {log})")
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            _wait_until_ready(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the service ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.exit(f"the service was not ready after {READY_SECONDS} s; see {log}")


def _ask_all(url: str, subjects: list[tuple[str, str]], schedule: str) -> list[Answer]:
    """One image of everything under one schedule; each has its seed, the same for both schedules."""
    return [
        _ask(url, {field: value, "seed": seed, "schedule": schedule, "response": "json"})
        for seed, (field, value) in enumerate(subjects, SEED)
    ]


def _ask(url: str, body: Mapping[str, Any]) -> Answer:
    request = urllib.request.Request(
        f"{url}/generate", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)
    image = Image.open(BytesIO(base64.b64decode(answer["images"][0])))
    return Answer(image, answer["timings"]["stages"], answer["timings"]["total_seconds"])


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def _show(info: Mapping[str, Any], answers: Mapping[str, list[Answer]], captions: list[str], sheet: Path) -> None:
    removed = {name: schedule["macs_removed"] for name, schedule in info["schedules"].items()}
    rows = {
        f"{name} (-{removed[name]:.1%} MACs)" if removed[name] else name: [answer.image for answer in images]
        for name, images in answers.items()
    }
    contact_sheet(rows, captions).save(sheet)
    for name, images in answers.items():
        console.print(_latency_table(name, images))
    mean = {name: sum(a.seconds for a in images) / len(images) for name, images in answers.items()}
    line = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in mean.items())
    console.print(f"mean seconds of a request: {line}")


def _latency_table(name: str, answers: list[Answer]) -> Table:
    """Milliseconds of one step in each stage, over the requests of one schedule."""
    table = Table("stage", "steps", "ms a step (median)", "ms a step (range)", title=f"{name}: latency per stage")
    for position, stage in enumerate(answers[0].stages):
        each = sorted(a.stages[position]["seconds"] / a.stages[position]["steps"] * 1e3 for a in answers)
        spread = f"{each[0]:.1f} .. {each[-1]:.1f}"
        table.add_row(str(int(stage["stage"])), str(int(stage["steps"])), f"{each[len(each) // 2]:.1f}", spread)
    return table


def _free_port() -> int:
    """PORT if nobody listens there, else one the system picks."""
    for wanted in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("binding to port 0 cannot fail")


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("stopping")


if __name__ == "__main__":
    main()

"""What memory a service takes under load, for half an hour, from more clients than it lets in.

    python benchmarks/serving_memory.py out/bundle --minutes 30 --out RESULT.json --figure FIGURE.png

Every client asks, waits, and asks again, or comes back when a refusal says; some stream with previews, some hang up
before they have their image. What each request came to is counted; anything else than an image, a refusal that says
when to come back, or having hung up is an error, and the run fails.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import matplotlib.pyplot as plt
import numpy as np
import psutil
import torch
from rich.progress import Progress

from diffes.bench.machine import Machine
from diffes.bundle import Bundle
from diffes.files import write_text_atomically

_SAMPLE_SECONDS = 5.0
_SETTLING = 1 / 6  # of the run: first requests of every kind, and allocators that find their sizes
_HANGS_UP = 0.1  # share of requests whose client leaves
_STREAMS = 0.2
_STEPS = (2, 4, 8, 20)

Samples = list[tuple[float, float]]  # seconds since the start, bytes resident


@dataclass
class Crowd:
    """Clients of one service, and what their requests came to."""

    url: str
    schedules: list[str]
    labels: int
    until: float
    fates: Counter[str] = field(default_factory=Counter)

    async def run(self, clients: int) -> None:
        """Until it is time; then whoever still waits is answered."""
        limits = httpx.Limits(max_connections=clients)
        async with httpx.AsyncClient(base_url=self.url, timeout=300, limits=limits) as http:
            await asyncio.gather(*(self._client(http, random.Random(seed)) for seed in range(clients)))

    async def _client(self, http: httpx.AsyncClient, rng: random.Random) -> None:
        while time.monotonic() < self.until:
            body: dict[str, Any] = {
                "label": rng.randrange(self.labels),
                "seed": rng.randrange(2**31),
                "steps": rng.choice(_STEPS),
                "schedule": rng.choice(self.schedules),
            }
            streams, hangs_up = rng.random() < _STREAMS, rng.random() < _HANGS_UP
            asked = self._stream(http, body) if streams else self._plain(http, body)
            try:
                fate, back = await asyncio.wait_for(asked, rng.uniform(0.01, 3.0) if hangs_up else None)
            except TimeoutError:
                fate, back = "hung up", 0.0
            except httpx.HTTPError as error:
                fate, back = f"error: {error!r}", 1.0
            self.fates[fate] += 1
            await asyncio.sleep(min(back, max(0.0, self.until - time.monotonic())))

    async def _plain(self, http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[str, float]:
        answer = await http.post("/generate", json=body)
        return _fate(answer, answer.content.startswith(b"\x89PNG"))

    async def _stream(self, http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[str, float]:
        async with http.stream("POST", "/generate/stream", json=body | {"previews": 2}) as answer:
            text = (await answer.aread()).decode()
        return _fate(answer, "event: result" in text)


def _fate(answer: httpx.Response, has_image: bool) -> tuple[str, float]:
    """What a request came to, and after how many seconds to come back."""
    if answer.status_code == 200 and has_image:
        return "image", 0.0
    if answer.status_code == 429 and int(answer.headers.get("retry-after", 0)) >= 1:
        return "told when to come back", float(answer.headers["retry-after"])
    return f"error: {answer.status_code} {answer.text[:100]}", 1.0


async def watch(server: psutil.Process, bars: Progress, began: float, until: float) -> Samples:
    """Seconds since the start and bytes of the server and its workers, now and then."""
    samples: Samples = []
    task = bars.add_task("loading", total=until - began)
    while (now := time.monotonic()) < until:
        samples.append((now - began, float(_resident(server))))
        bars.update(task, completed=now - began)
        await asyncio.sleep(_SAMPLE_SECONDS)
    return samples


def _resident(server: psutil.Process) -> int:
    total = 0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


async def load(
    url: str, server: psutil.Process, clients: int, seconds: float
) -> tuple[Crowd, list[tuple[float, float]]]:
    """The crowd when all of it is answered, and the samples."""
    info = httpx.get(f"{url}/v1/info").raise_for_status().json()
    began = time.monotonic()
    crowd = Crowd(url, list(info["schedules"]), len(info["labels"]), began + seconds)
    with Progress() as bars:
        samples, _ = await asyncio.gather(watch(server, bars, began, crowd.until), crowd.run(clients))
    return crowd, samples


def slope(samples: Samples) -> float:
    """Bytes an hour once it has settled, by least squares."""
    seconds, resident = np.array(samples)[int(len(samples) * _SETTLING) :].T
    return float(np.polyfit(seconds, resident, 1)[0]) * 3600


def draw(samples: Samples, path: Path) -> None:
    """Memory over time, from nothing."""
    seconds, resident = np.array(samples).T
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    axes.plot(seconds / 60, resident / 1e6, linewidth=1)
    axes.set(xlabel="minutes of load", ylabel="MB resident", ylim=(0, resident.max() / 1e6 * 1.1), xlim=(0, None))
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def started(bundle: Path, port: int, queue: int, log: Path) -> subprocess.Popen[bytes]:
    """`diffes serve`, ready; SystemExit with its log if it does not get so far."""
    command = [sys.executable, "-m", "diffes", "serve", str(bundle), "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | {"DIFFES_MAX_QUEUE": str(queue)}, stdout=file, stderr=subprocess.STDOUT
        )
    while process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process
        time.sleep(0.2)
    raise SystemExit(f"the service ended:\n{log.read_text()}")


def main() -> None:
    """Load, watch, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = started(options.bundle.absolute(), port, options.queue, options.out.with_suffix(".log"))
    url = f"http://127.0.0.1:{port}"
    try:
        crowd, samples = asyncio.run(load(url, psutil.Process(process.pid), options.clients, options.minutes * 60))
    finally:
        process.terminate()
        process.wait()
    result = {
        "machine": asdict(Machine.of(torch.device("cpu"), Bundle.open(options.bundle).manifest.dtype)),
        "clients": options.clients,
        "queue": options.queue,
        "minutes": options.minutes,
        "fates": dict(crowd.fates.most_common()),
        "bytes_an_hour": slope(samples),
        "samples": [(round(seconds, 1), resident) for seconds, resident in samples],
    }
    write_text_atomically(options.out, json.dumps(result) + "\n")
    draw(samples, options.figure)
    sys.stdout.write(json.dumps({key: result[key] for key in ("fates", "bytes_an_hour")}, indent=1) + "\n")
    if any(fate.startswith("error") for fate in crowd.fates):
        sys.exit("some requests ended in errors")


if __name__ == "__main__":
    main()

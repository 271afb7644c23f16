"""What a service tells of itself while it is loaded, now and then."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

from loadtest.scrape import Scrape
from loadtest.target import Target

LEAST_SECONDS = 1.0
_SAMPLES = 600  # of a long run


@dataclass(frozen=True, slots=True)
class Sample:
    """One look, `at` seconds since 1970. Who does not answer, or has no metrics, told nothing."""

    at: float
    waiting: float | None = None  # requests
    running: float | None = None  # images
    backlog: float | None = None  # seconds
    resident: int | None = None  # bytes
    device: int | None = None  # bytes taken of all GPUs' memory, whoever took them


def look(target: Target) -> Sample:
    """Now."""
    at, text, resident, device = time.time(), target.metrics(), target.resident_bytes(), target.device_bytes()
    if text is None:
        return Sample(at, resident=resident, device=device)
    scrape = Scrape.parse(text)
    return Sample(
        at,
        waiting=scrape.total("diffes_queue_depth"),
        running=scrape.total("diffes_images_running"),
        backlog=scrape.total("diffes_backlog_seconds"),
        resident=resident or int(scrape.total("diffes_resident_bytes")),
        device=device,
    )


@contextmanager
def watching(target: Target, seconds: float, path: Path) -> Iterator[None]:
    """Look until the block ends, so often that a run of `seconds` gives some hundred samples; a line of JSON each."""
    every = max(LEAST_SECONDS, seconds / _SAMPLES)
    over = Event()
    with path.open("w", encoding="utf-8", buffering=1) as file:
        thread = Thread(target=_look_every, args=(every, over, lambda: file.write(_line(look(target)))), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def load_samples(path: Path) -> list[Sample]:
    """What `watching` wrote."""
    return [Sample(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _line(sample: Sample) -> str:
    return json.dumps(asdict(sample)) + "\n"


def _look_every(seconds: float, over: Event, look_now: Callable[[], object]) -> None:
    look_now()
    while not over.wait(seconds):
        look_now()

"""Closed-loop load on a running service: every user asks, waits for the answer, and asks again.

    locust -f loadtest/locustfile.py --headless -u 4 -r 4 -t 30s --host http://localhost:3000

Labels and seeds are random but repeatable (`--seed`). The table printed at the end is made from raw rows: exact
percentiles, per request and per stage, which locust's own table (two significant digits) is not. Exit code 1 if a
request failed or none was made.
"""

import itertools
import logging
import sys
from base64 import b64decode
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from locust import FastHttpUser, constant, events, task
from locust.exception import StopUser

from loadtest.report import Row, StageRow, report, save_rows

_PNG = b"\x89PNG\r\n\x1a\n"
_DRAIN_SECONDS = 120.0  # for answers still under way at the end; locust would drop them unrecorded

_rows: list[Row] = []
_began = perf_counter()
_users = itertools.count()


def _options(parser: Any, **_: Any) -> None:
    group = parser.add_argument_group("diffes", "What each request asks for")
    group.add_argument("--seed", type=int, default=0, help="Seed of the labels and image seeds asked for")
    group.add_argument("--images", type=int, default=1, help="Images per request")
    group.add_argument("--steps", type=int, default=None, help="Denoising steps; default: the schedule's")
    group.add_argument("--schedule", default="", help="Schedule; default: the bundle's")
    group.add_argument("--rows", default="", help="File for the raw rows, one JSON object a line")


def _prepare(environment: Any, **_: Any) -> None:
    if environment.parsed_options.only_summary:  # the summary is ours, below
        logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)
    environment.stop_timeout = max(environment.stop_timeout or 0.0, _DRAIN_SECONDS)


def _finish(environment: Any, **_: Any) -> None:
    sys.stdout.write(report(_rows))
    if environment.parsed_options.rows:
        save_rows(Path(environment.parsed_options.rows), _rows)
    environment.process_exit_code = int(not _rows or any(row.error for row in _rows))


events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_prepare)
events.quitting.add_listener(_finish)


class Caller(FastHttpUser):  # type: ignore[misc]
    """One user of the service."""

    wait_time = constant(0)
    network_timeout = 600.0
    connection_timeout = 60.0

    def on_start(self) -> None:
        """Learn the labels; a service that cannot tell them is a failed request."""
        options = self.environment.parsed_options
        self._random = Random(f"{options.seed}/{next(_users)}")
        self._asked = {"n": options.images, "response": "json"}
        self._asked |= {"steps": options.steps} if options.steps is not None else {}
        self._asked |= {"schedule": options.schedule} if options.schedule else {}
        with self.client.get("/v1/info", name="info", catch_response=True) as answer:
            if answer.status_code != 200:
                _rows.append(Row(perf_counter() - _began, 0.0, answer.status_code, f"/v1/info: {_reason(answer)}"))
                raise StopUser
            self._labels = answer.json()["labels"]

    @task  # type: ignore[untyped-decorator]
    def generate(self) -> None:
        """One request for a random class and seed."""
        label, seed = self._random.randrange(len(self._labels)), self._random.randrange(2**32)
        start = perf_counter()
        body = self._asked | {"label": label, "seed": seed}
        with self.client.post("/generate", json=body, name="generate", catch_response=True) as answer:
            seconds = perf_counter() - start
            row = _row(answer, start - _began, seconds, self._asked["n"])
            _rows.append(row)
            if row.error:
                answer.failure(row.error)
            else:
                answer.success()


def _row(answer: Any, at: float, seconds: float, images: int) -> Row:
    if answer.status_code != 200:
        return Row(at, seconds, answer.status_code, _reason(answer))
    document = answer.json()
    pictures = [b64decode(image) for image in document["images"]]
    if len(pictures) != images or not all(picture.startswith(_PNG) for picture in pictures):
        return Row(at, seconds, 200, f"expected {images} PNG images, found {len(pictures)} of something else")
    timings = document["timings"]
    stages = tuple(StageRow(**stage) for stage in timings["stages"])
    return Row(at, seconds, 200, "", timings["queue_seconds"], stages)


def _reason(answer: Any) -> str:
    if answer.status_code == 0:
        return f"no answer: {answer.error}"
    return f"{answer.status_code} {(answer.text or '')[:200]}"

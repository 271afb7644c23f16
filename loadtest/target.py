"""The service that is loaded: where it is, what it tells, and what it takes of its machine."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from diffes.errors import LoadTestError
from loadtest.gpu import used_bytes
from loadtest.relay import Relay
from loadtest.scrape import Scrape
from loadtest.service import Service

_SECONDS = 10.0
_FIRST_SECONDS = 30.0  # a service that has just started on a busy machine may take as long


@dataclass
class Target:
    """`service` is the one that we started, `bundle` what it serves; `log` has lines of JSON, whoever started it."""

    url: str
    key: str = ""
    service: Service | None = None
    bundle: Path | None = None
    log: Path | None = None
    device_before: int = 0  # bytes taken of GPUs' memory before the service was started
    disk: Path | None = None  # a small one, that the service writes to
    relay: Relay | None = None  # between the service and its Triton server

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def info(self) -> dict[str, Any]:
        """What it says that it serves; LoadTestError if it says nothing of the kind."""
        try:
            answer = httpx.get(f"{self.url}/v1/info", headers=self.headers, timeout=_FIRST_SECONDS)
            told: dict[str, Any] = {"texts": [], **answer.raise_for_status().json()}  # a peer tells of no texts
            if not (told["labels"] or told["texts"]) or told["default"] not in told["schedules"]:
                raise ValueError("neither labels nor texts, or a default that is none of its schedules")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise LoadTestError(f"{self.url} is no Diffes service", expected="GET /v1/info", found=found) from error
        return told

    def metrics(self) -> str | None:
        """Its /metrics now, or None if it has none, or does not answer."""
        with suppress(httpx.TransportError):
            answer = httpx.get(f"{self.url}/metrics", headers=self.headers, timeout=_SECONDS)
            if answer.status_code == 200 and "diffes_requests_total" in answer.text:
                return answer.text
        return None

    def is_idle(self) -> bool | None:
        """Whether no request is inside; None if it does not say."""
        if (text := self.metrics()) is None:
            return None
        scrape = Scrape.parse(text)
        return scrape.total("diffes_queue_depth") == 0 and scrape.total("diffes_images_running") == 0

    def resident_bytes(self) -> int | None:
        """Of all processes of a service that is ours, pages that they share counted for each; None of another's."""
        if self.service is None:
            return None
        total = 0
        for process in self.service.processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def device_bytes(self) -> int | None:
        """Of this machine's GPUs, since the service that is ours was started; None of another's, or without a GPU."""
        used = None if self.service is None else used_bytes()
        return None if used is None else used - self.device_before

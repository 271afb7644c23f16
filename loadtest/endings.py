"""What the service itself says became of each request: lines of its log, by what its caller calls a request."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Ending:
    """A request's end as its service logs it; seconds since it came. `diffes/serving/logs.py` writes these."""

    name: str
    request_id: str
    outcome: str
    reason: str
    queue_seconds: float
    total_seconds: float
    stages: tuple[tuple[int, int, float], ...]  # number, steps, seconds

    @classmethod
    def of(cls, told: dict[str, Any]) -> Self:
        """A line of a log, decoded."""
        return cls(
            name=told["client_request_id"],
            request_id=told["request_id"],
            outcome=told["outcome"],
            reason=told.get("reason", ""),
            queue_seconds=told["queue_seconds"],
            total_seconds=told["total_seconds"],
            stages=tuple((stage["stage"], stage["steps"], stage["seconds"]) for stage in told["stages"]),
        )


def read_endings(log: Path, run: str) -> list[Ending]:
    """Of the requests of this run, as the log has them; lines that tell of no request are passed over."""
    return [Ending.of(told) for told in _lines(log) if str(told.get("client_request_id", "")).startswith(f"{run}-")]


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    with log.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("{"):
                continue
            try:
                told = json.loads(line)
            except ValueError:  # cut off by a kill, or two processes' lines in one
                continue
            if isinstance(told, dict) and "outcome" in told:
                yield told

"""What a service logs: a line for every request's end, as text or as JSON."""

import logging
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from diffes.engine.observer import Ending, Outcome
from diffes.serving.origin import request_id

LogFormat = Literal["text", "json"]

_STATUSES: dict[Outcome, int] = {"done": 200, "rejected": 429, "expired": 504, "failed": 500, "cancelled": 499}
_WITHDRAWN = 410
_TEXT_TIME = "%Y-%m-%dT%H:%M:%S%z"

logger = logging.getLogger(__name__)


def configure(wanted: LogFormat) -> None:
    """Of a worker. Text goes through BentoML's own handlers. JSON has the one handler of the process, for BentoML's
    lines too.
    """
    logging.getLogger("diffes").setLevel(logging.INFO)  # a service's default level
    if wanted == "text":
        return
    root = logging.getLogger()
    for other in (root, *(logging.getLogger(name) for name in ("bentoml", "uvicorn.error", "circus"))):
        other.handlers = []
        other.propagate = True
    root.addHandler(_handler(Formatter()))


def configure_engine(wanted: LogFormat, worker: int) -> None:
    """Of an engine's process. Text looks as BentoML's does."""
    logging.getLogger("diffes").setLevel(logging.INFO)
    text = logging.Formatter(f"%(asctime)s [%(levelname)s] [engine:diffes:{worker}] %(message)s", _TEXT_TIME)
    logging.getLogger().addHandler(_handler(text if wanted == "text" else Formatter()))


def _handler(formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    return handler


class Formatter(JsonFormatter):
    """One object a line: time (RFC 3339), level, logger, message, request_id where there is one, and fields."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """What comes of a record, less what is empty."""
        return {name: value for name, value in log_data.items() if value not in ("", None)}

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """The fields of every line first."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = record.getMessage()
        log_data["request_id"] = request_id.get()
        super().add_fields(log_data, record, message_dict)


def log_ending(ending: Ending, trace_id: str = "") -> None:
    """One line for one request."""
    request, timings = ending.request, ending.timings
    steps = sum(stage.steps for stage in timings.stages)
    batches = sum(stage.mean_batch * stage.steps for stage in timings.stages)
    fields = {
        "request_id": request.id,
        "client_request_id": request.origin.client_id,
        "trace_id": trace_id,
        "outcome": ending.outcome,
        "reason": ending.reason,
        "status": _WITHDRAWN if ending.reason == "withdrawn" else _STATUSES[ending.outcome],
        "schedule_asked": request.origin.schedule,
        "schedule": request.schedule,
        "shed_from": request.shed_from,
        **request.prompt.said,
        "n": request.images,
        "steps": request.steps,
        "seed": request.seed,
        "guidance": request.guidance,
        "queue_seconds": timings.queue_seconds,
        "total_seconds": timings.total_seconds,
        "steps_taken": ending.steps,
        "mean_batch": batches / steps if steps else None,
        "stages": [_rounded(asdict(stage)) for stage in timings.stages],
    }
    logger.info(
        "request %s %s%s: schedule %s, %s, n %d, seed %d, %d steps, queue %.3f s, total %.3f s",
        request.id,
        ending.outcome,
        f" ({ending.reason})" if ending.reason else "",
        request.schedule,
        ", ".join(f"{name} {value}" for name, value in request.prompt.said.items()),
        request.images,
        request.seed,
        request.steps,
        timings.queue_seconds,
        timings.total_seconds,
        extra=_rounded(fields),
    )


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    """To a microsecond."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in fields.items()}

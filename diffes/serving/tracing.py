"""A span for every request and its parts, made after its end from what the engine told, exported by OpenTelemetry.

Configured by OpenTelemetry's own environment variables; without an endpoint or an exporter named there are no spans.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Self

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from diffes import __version__
from diffes.engine.observer import Ending
from diffes.engine.request import StageTiming
from diffes.errors import InvalidInput
from diffes.serving.endings import Ended

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def tracing_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for spans; InvalidInput for what cannot be done about them."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    endpoint = any(environment.get(name) for name in _ENDPOINTS)
    exporter = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if exporter == "none":
        return False
    if exporter != "otlp":
        raise InvalidInput("OTEL_TRACES_EXPORTER", expected="otlp or none", found=exporter)
    for name in _PROTOCOLS:
        if environment.get(name, "http/protobuf") != "http/protobuf":
            raise InvalidInput(name, expected="http/protobuf", found=environment[name])
    if not _installed(_EXPORTER):
        raise InvalidInput(
            "OTEL_TRACES_EXPORTER",
            expected="an installed OTLP exporter",
            found="none",
            remedy="pip install 'diffes[otel]', or set OTEL_TRACES_EXPORTER=none.",
        )
    return True


class Tracing:
    """Spans of requests that ended."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("diffes", __version__)

    @classmethod
    def from_environment(cls) -> Self | None:
        """None if no spans are asked for."""
        if not tracing_wanted():
            return None
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider = TracerProvider(resource=resource())
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def tell(self, ended: Ended) -> str:
        """Spans `diffes.request` and, in it, queue, stages and decode; the trace's id."""
        ending, began = ended.ending, ended.at - _nanoseconds(ended.ending.timings.total_seconds)
        parent = TraceContextTextMapPropagator().extract(ending.request.origin.trace, Context())
        whole = self._tracer.start_span(
            "diffes.request", parent, SpanKind.SERVER, attributes=_attributes(ending), start_time=began
        )
        inside = set_span_in_context(whole, Context())
        timings = ending.timings
        self._part("diffes.queue", inside, began, 0.0, timings.queue_seconds, {})
        for stage in timings.stages:
            self._part("diffes.stage", inside, began, stage.began, stage.ended, _stage_attributes(stage))
        if ending.outcome == "done":
            last = max(stage.ended for stage in timings.stages)
            self._part("diffes.decode", inside, began, last, timings.total_seconds, {})
        if ending.outcome == "failed":
            whole.set_status(Status(StatusCode.ERROR, ending.reason))
        whole.end(ended.at)
        return format_trace_id(whole.get_span_context().trace_id)

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()

    def _part(
        self, name: str, inside: Context, began: int, start: float, end: float, attributes: Mapping[str, str | float]
    ) -> None:
        span = self._tracer.start_span(name, inside, attributes=attributes, start_time=began + _nanoseconds(start))
        span.end(began + _nanoseconds(end))


def resource() -> Resource:
    """What sends the spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say otherwise."""
    ours = Resource({SERVICE_NAME: "diffes", SERVICE_VERSION: __version__})
    found = Resource.create()
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return ours.merge(found) if named else found.merge(ours)


def _attributes(ending: Ending) -> dict[str, str | float | tuple[int, int]]:
    request = ending.request
    return {
        "diffes.request_id": request.id,
        "diffes.client_request_id": request.origin.client_id,
        "diffes.schedule": request.schedule,
        **{f"diffes.{name}": value for name, value in request.prompt.said.items()},
        "diffes.seed": request.seed,
        "diffes.images": request.images,
        "diffes.steps": request.steps,
        "diffes.guidance": request.guidance,
        "diffes.steps_taken": ending.steps,
        "diffes.outcome": ending.outcome,
        "diffes.reason": ending.reason,
    }


def _stage_attributes(stage: StageTiming) -> dict[str, str | float]:
    return {
        "diffes.stage": stage.stage,
        "diffes.subgraph": stage.subgraph,
        "diffes.steps": stage.steps,
        "diffes.mean_batch": stage.mean_batch,
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False

"""Spans of requests that ended, through OpenTelemetry's own SDK."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from diffes.engine.observer import Ending
from diffes.errors import InvalidInput
from diffes.serving import tracing
from diffes.serving.endings import Ended
from diffes.serving.tracing import Tracing, resource, tracing_wanted
from tests.serving.endings import ending

AT = 1_800_000_000_000_000_000
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traced = Tracing(provider)
    yield traced
    traced.close()


def spans(traced: Tracing, exporter: InMemorySpanExporter, told: Ending) -> dict[str, list[ReadableSpan]]:
    """Of one request, by name."""
    trace_id = traced.tell(Ended(told, AT))
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        assert f"{span.context.trace_id:032x}" == trace_id
        found.setdefault(span.name, []).append(span)
    return found


def moments(span: ReadableSpan) -> tuple[float, float]:
    """Start and end in seconds before the request's end."""
    return ((span.start_time or 0) - AT) / 1e9, ((span.end_time or 0) - AT) / 1e9


def test_a_request_is_a_span_of_queue_stages_and_decode(traced: Tracing, exporter: InMemorySpanExporter) -> None:
    found = spans(traced, exporter, ending())
    (whole,) = found["diffes.request"]
    attributes = whole.attributes or {}
    assert moments(whole) == (-2.0, 0.0)
    assert {name: attributes[f"diffes.{name}"] for name in ("schedule", "label", "seed", "steps", "outcome")} == {
        "schedule": "mixed",
        "label": 8,
        "seed": 2**32 - 1,
        "steps": 4,
        "outcome": "done",
    }
    parts = [("diffes.queue", (-2.0, -1.5)), ("diffes.stage", (-1.5, -1.2)), ("diffes.decode", (-0.7, 0.0))]
    for name, times in parts:
        assert moments(found[name][0]) == times
        parent = found[name][0].parent
        assert parent is not None
        assert parent.span_id == whole.context.span_id
    assert dict(found["diffes.stage"][1].attributes or {}) == {
        "diffes.stage": 1,
        "diffes.subgraph": "step1",
        "diffes.steps": 2,
        "diffes.mean_batch": 2.0,
    }


def test_the_trace_of_the_caller_goes_on(traced: Tracing, exporter: InMemorySpanExporter) -> None:
    (whole,) = spans(traced, exporter, ending(trace={"traceparent": f"00-{TRACE}-{PARENT}-01"}))["diffes.request"]
    assert whole.parent is not None
    assert (f"{whole.context.trace_id:032x}", f"{whole.parent.span_id:016x}") == (TRACE, PARENT)


def test_a_trace_that_its_caller_does_not_sample_is_not_exported(
    traced: Tracing, exporter: InMemorySpanExporter
) -> None:
    assert spans(traced, exporter, ending(trace={"traceparent": f"00-{TRACE}-{PARENT}-00"})) == {}


@pytest.mark.parametrize("header", ["", "00-zz-yy-01", "nonsense"])
def test_a_malformed_traceparent_begins_a_trace_of_its_own(
    traced: Tracing, exporter: InMemorySpanExporter, header: str
) -> None:
    (whole,) = spans(traced, exporter, ending(trace={"traceparent": header}))["diffes.request"]
    assert whole.parent is None


def test_a_failure_is_an_error_and_was_not_decoded(traced: Tracing, exporter: InMemorySpanExporter) -> None:
    found = spans(traced, exporter, ending("failed", "step"))
    status = found["diffes.request"][0].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "step")
    assert "diffes.decode" not in found


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standard_variables_say_whether_there_are_spans(environment: dict[str, str], wanted: bool) -> None:
    assert tracing_wanted(environment) is wanted


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "invalid OTEL_TRACES_EXPORTER: expected otlp or none, found zipkin"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "invalid OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, found grpc",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        tracing_wanted(environment)


def test_a_missing_exporter_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_EXPORTER", "opentelemetry.exporter.nowhere.at_all")
    with pytest.raises(InvalidInput, match=r"pip install 'diffes\[otel\]'"):
        tracing_wanted({"OTEL_TRACES_EXPORTER": "otlp"})


def test_the_service_has_its_name_unless_the_environment_gives_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    assert resource().attributes["service.name"] == "diffes"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "images")
    assert resource().attributes["service.name"] == "images"

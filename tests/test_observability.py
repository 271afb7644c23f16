"""What a running service tells of itself: `bentoml serve` logs JSON, and exports spans to a collector of the test."""

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from diffes.bundle import Bundle
from tests.service import Service, start

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALL = {"X-Request-ID": "order-7", "traceparent": f"00-{TRACE}-{PARENT}-01"}


class Collector(ThreadingHTTPServer):
    """Takes spans over OTLP/HTTP, on a free port."""

    def __init__(self) -> None:
        self.exports: list[ExportTraceServiceRequest] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Span]:
        resources = (resource for export in self.exports for resource in export.resource_spans)
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf":
            self.server.exports.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def service(
    tiny_bundle: Bundle, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, httpx.Response]]:
    """A server that was asked for one image, and its answer; it has ended, and so told everything."""
    environment = {
        "DIFFES_LOG": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    running = start(tmp_path_factory.mktemp("observed"), tiny_bundle.folder, **environment)
    try:
        running.wait_until_ready()
        answer = httpx.post(f"{running.url}/generate", json={"label": 8, "seed": 3}, headers=CALL, timeout=60)
        assert running.terminate() == 0
        yield running, answer
    finally:
        running.kill()


def attributes(span: Span) -> dict[str, Any]:
    kinds = {each.key: each.value.WhichOneof("value") for each in span.attributes}
    return {each.key: getattr(each.value, kinds[each.key] or "") for each in span.attributes}


def test_every_line_is_one_json_object_and_none_comes_twice(service: tuple[Service, httpx.Response]) -> None:
    lines = service[0].text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line for line in lines if not line.startswith("{")] == []
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in told)
    assert len({(line["time"], line["message"]) for line in told}) == len(told)


def test_a_request_has_a_line_with_its_ids(service: tuple[Service, httpx.Response]) -> None:
    running, answer = service
    told = [json.loads(line) for line in running.text().splitlines() if '"outcome"' in line]
    (line,) = told
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["client_request_id"] == answer.headers["x-client-request-id"] == "order-7"
    assert (line["label"], line["seed"], line["outcome"], line["trace_id"]) == (8, 3, "done", TRACE)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$", line["time"])


def test_a_collector_gets_the_request_s_spans_inside_the_caller_s_trace(
    service: tuple[Service, httpx.Response], collector: Collector
) -> None:
    _, answer = service
    by_name: dict[str, list[Span]] = {}
    for span in collector.spans:
        assert span.trace_id.hex() == TRACE
        by_name.setdefault(span.name, []).append(span)
    (whole,) = by_name["diffes.request"]
    assert whole.parent_span_id.hex() == PARENT
    assert attributes(whole)["diffes.request_id"] == answer.headers["x-request-id"]
    assert abs(whole.end_time_unix_nano / 1e9 - time.time()) < 600
    assert [len(by_name[name]) for name in ("diffes.queue", "diffes.decode")] == [1, 1]
    stages = sorted(by_name["diffes.stage"], key=lambda span: span.start_time_unix_nano)
    assert len(stages) == len({attributes(span)["diffes.stage"] for span in stages}) > 1
    for earlier, later in zip(stages, stages[1:], strict=False):
        assert whole.start_time_unix_nano < earlier.end_time_unix_nano <= later.start_time_unix_nano
    assert {span.parent_span_id for span in collector.spans} - {bytes.fromhex(PARENT)} == {whole.span_id}


def test_the_collector_is_told_which_service_it_was(
    service: tuple[Service, httpx.Response], collector: Collector
) -> None:
    assert service
    (named,) = {
        attribute.value.string_value
        for export in collector.exports
        for resource in export.resource_spans
        for attribute in resource.resource.attributes
        if attribute.key == "service.name"
    }
    assert named == "diffes"

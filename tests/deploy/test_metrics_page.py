"""docs/observability.md lists the metrics that a service exposes."""

from pathlib import Path

from prometheus_client.metrics_core import Metric

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


def row(metric: Metric) -> str:
    labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
    name = metric.name + ("_total" if metric.type == "counter" else "")
    return f"| `{name}` | {metric.type} | {', '.join(labels)} | {metric.documentation} |"


def test_the_table_of_metrics_is_what_a_service_exposes(exposed: list[Metric]) -> None:
    _, table, _ = PAGE.read_text().split("<!-- metrics -->")
    expected = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", *map(row, exposed)]
    assert table.strip().splitlines() == expected

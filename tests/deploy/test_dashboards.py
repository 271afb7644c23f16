"""The dashboard and the alerts ask for what a service exposes, and for nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.metrics_core import Metric

from deploy.grafana.dashboard import FILE, SLO_SECONDS, dashboard, text

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
_ADDED = {"instance", "job"}  # labels that Prometheus gives every series
_OUR_OWN = {"up"}  # series of Prometheus itself

Selected = tuple[str, dict[str, str]]  # a series' name, and its labels with the values they are compared to


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def expressions() -> dict[str, str]:
    """Every PromQL expression by where it is, Grafana's variables filled in."""
    found = {f"alert {alert['alert']}": alert["expr"] for alert in alerts()}
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$slo", SLO_SECONDS[0])
            found[f"panel {panel['title']} {target['refId']}"] = expression
    return found


def walked(expression: Any) -> Iterator[Any]:
    """A parsed expression and all its parts."""
    yield expression
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        part = getattr(expression, name, None)
        if part is not None:
            yield from walked(part)
    for argument in getattr(expression, "args", ()):
        yield from walked(argument)


def selected(expression: str) -> list[Selected]:
    parts = walked(promql_parser.parse(expression))
    selectors = [part for part in parts if isinstance(part, promql_parser.VectorSelector)]
    return [
        (selector.name or "", {matcher.name: matcher.value for matcher in selector.matchers.matchers})
        for selector in selectors
    ]


def grouped(expression: str) -> set[str]:
    """Labels that are aggregated or matched by."""
    parts = list(walked(promql_parser.parse(expression)))
    modifiers = [part.modifier for part in parts if isinstance(part, promql_parser.AggregateExpr)]
    return {label for modifier in modifiers if modifier is not None for label in modifier.labels}


@pytest.fixture(scope="session")
def series(exposed: list[Metric]) -> dict[str, dict[str, set[str]]]:
    """Every series' name → its labels → their values."""
    found: dict[str, dict[str, set[str]]] = {}
    for sample in (sample for metric in exposed for sample in metric.samples):
        labels = found.setdefault(sample.name, {})
        for name, value in sample.labels.items():
            labels.setdefault(name, set()).add(value)
    return found


def test_the_parser_finds_every_part_of_an_expression() -> None:
    whole = 'sum by (a) (rate(x_bucket{le="1.0"}[5m])) / on (b) -y > 2 and time() - max(z) or quantile(0.5, (w))'
    assert [name for name, _ in selected(whole)] == ["x_bucket", "y", "z", "w"]
    assert selected(whole)[0][1] == {"le": "1.0"}
    assert grouped(whole) == {"a"}


@pytest.mark.parametrize(("where", "expression"), expressions().items(), ids=expressions().keys())
def test_an_expression_names_series_and_labels_that_exist(
    where: str, expression: str, series: dict[str, dict[str, set[str]]]
) -> None:
    assert where
    names = {name for name, _ in selected(expression)} - _OUR_OWN
    assert names <= series.keys()
    known = _ADDED.union(*(series[name] for name in names))
    assert grouped(expression) <= known
    for name, compared in selected(expression):
        for label, value in compared.items():
            assert label in _ADDED | series.get(name, {}).keys()
            assert label in _ADDED or value.startswith("$") or value in series[name][label]


def test_every_metric_is_in_a_panel(exposed: list[Metric]) -> None:
    shown = {name for where, text in expressions().items() if where.startswith("panel") for name, _ in selected(text)}
    hidden = [metric.name for metric in exposed if not shown & {sample.name for sample in metric.samples}]
    assert hidden == []


def test_every_slo_to_choose_is_a_bucket_s_edge(series: dict[str, dict[str, set[str]]]) -> None:
    assert set(SLO_SECONDS) <= series["diffes_request_seconds_bucket"]["le"]


def test_variables_are_filled_from_labels_that_exist(series: dict[str, dict[str, set[str]]]) -> None:
    variables = dashboard()["templating"]["list"]
    assert {variable["name"] for variable in variables} == {"datasource", "instance", "schedule", "stage", "slo"}
    for variable in variables:
        if variable["type"] == "query":
            metric, label = variable["definition"].removeprefix("label_values(").removesuffix(")").split(", ")
            assert label in _ADDED | series[metric].keys()


def test_the_json_is_what_the_description_says() -> None:
    assert FILE.read_text() == text(), "run `python -m deploy.grafana`"


def test_panels_do_not_overlap_and_every_one_has_a_unit_a_text_and_the_chosen_datasource() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & covered
        assert place["x"] + place["w"] <= 24
        covered |= cells
    for panel in panels():
        options = panel["options"].get("yAxis", {}) | panel["fieldConfig"]["defaults"]
        assert options["unit"]
        assert panel["description"]
        assert {json.dumps(place["datasource"]) for place in (panel, *panel["targets"])} == {
            '{"type": "prometheus", "uid": "${datasource}"}'
        }
    assert "http" not in text()


def test_an_alert_says_in_one_line_what_it_means() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert "\n" not in alert["annotations"]["summary"]
    assert len({alert["alert"] for alert in alerts()}) == len(alerts())


def test_the_scrape_example_reads_the_alerts_and_a_job_that_they_name() -> None:
    example = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert [(PROMETHEUS / file).exists() for file in example["rule_files"]] == [True]
    (job,) = example["scrape_configs"]
    jobs = {
        labels["job"] for expression in expressions().values() for _, labels in selected(expression) if "job" in labels
    }
    assert jobs == {job["job_name"]}

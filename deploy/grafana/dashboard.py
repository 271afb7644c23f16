"""The dashboard of a Diffes service; diffes.json beside this file is its JSON model."""

import json
from pathlib import Path

from deploy.grafana import engine, service
from deploy.grafana.panels import DATASOURCE, Json, placed

FILE = Path(__file__).with_name("diffes.json")
SLO_SECONDS = ("0.5", "1.0", "2.0", "5.0", "10.0", "20.0", "30.0", "60.0")  # bucket edges: the share within is exact

ROWS = (
    ("Now", service.NOW),
    ("Traffic", service.TRAFFIC),
    ("Latency", service.LATENCY),
    ("Inside", service.INSIDE),
    ("Stages", engine.STAGES),
    ("Around the steps", engine.AROUND),
    ("Machine", engine.MACHINE),
)


def _variable(name: str, metric: str) -> Json:
    query = f"label_values(diffes_{metric}, {name})"
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 3,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _slo() -> Json:
    options = [{"text": seconds, "value": seconds, "selected": seconds == "5.0"} for seconds in SLO_SECONDS]
    current = {"text": "5.0", "value": "5.0"}
    named = {"name": "slo", "label": "SLO, seconds", "type": "custom"}
    return named | {"query": ",".join(SLO_SECONDS), "options": options, "current": current}


def dashboard() -> Json:
    """The whole JSON model."""
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "refresh": 1, "current": {}},
        _variable("instance", "ready"),
        _variable("schedule", "steps_total"),
        _variable("stage", "steps_total"),
        _slo(),
    ]
    return {
        "uid": "diffes",
        "title": "Diffes",
        "description": "A diffusion service whose every stage runs on its own slice of one set of weights.",
        "tags": ["diffes", "inference"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "panels": placed(ROWS),
    }


def text() -> str:
    """As it is written."""
    return json.dumps(dashboard(), indent=1) + "\n"

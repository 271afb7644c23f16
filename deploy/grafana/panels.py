"""Panels of a Grafana dashboard as its JSON model has them (schema 39, Grafana 11 and later)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "heatmap", "table"]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_STAT_HEIGHT, _HEIGHT = 4, 8


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One figure and what it says; `width` is in 24ths of the page, `steps` are where a stat's colour changes."""

    title: str
    told: str
    queries: tuple[Query, ...]
    unit: str
    kind: Kind = "timeseries"
    width: int = 8
    stack: bool = False
    most: float | None = None
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)

    def model(self, number: int, x: int, y: int) -> Json:
        """As Grafana stores it."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.told,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [self._target(query, place) for place, query in enumerate(self.queries)],
            **_LOOKS[self.kind](self),
        }

    @property
    def height(self) -> int:
        """In rows of the page."""
        return _STAT_HEIGHT if self.kind == "stat" else _HEIGHT

    def _target(self, query: Query, place: int) -> Json:
        target: Json = {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": query.expr}
        if self.kind == "heatmap":
            return target | {"format": "heatmap", "legendFormat": "{{le}}"}
        if self.kind == "table":
            return target | {"format": "table", "instant": True}
        if self.kind == "stat":
            return target | {"instant": True, "legendFormat": query.legend}
        return target | {"legendFormat": query.legend}


def _timeseries(panel: Panel) -> Json:
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if panel.stack else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
    }
    defaults: Json = {"unit": panel.unit, "min": 0, "custom": custom}
    if panel.most is not None:
        defaults["max"] = panel.most
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}


def _stat(panel: Panel) -> Json:
    thresholds = {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in panel.steps]}
    defaults = {"unit": panel.unit, "color": {"mode": "thresholds"}, "thresholds": thresholds}
    calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {"reduceOptions": calculation, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
    return {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}


def _heatmap(panel: Panel) -> Json:
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange"},
        "yAxis": {"unit": panel.unit, "axisPlacement": "left"},
        "tooltip": {"mode": "single", "yHistogram": True},
        "legend": {"show": True},
    }
    return {"fieldConfig": {"defaults": {}, "overrides": []}, "options": options}


def _table(panel: Panel) -> Json:
    hidden = {"Time": True, "Value": True, "__name__": True, "job": True}
    organize = {"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": {}}}
    fields = {"defaults": {"unit": panel.unit}, "overrides": []}
    return {"fieldConfig": fields, "options": {"showHeader": True}, "transformations": [organize]}


_LOOKS = {"timeseries": _timeseries, "stat": _stat, "heatmap": _heatmap, "table": _table}


def placed(rows: Sequence[tuple[str, Sequence[Panel]]]) -> list[Json]:
    """Rows of panels from left to right, a panel that does not fit below the others of its row."""
    models: list[Json] = []
    y = 0
    for title, panels in rows:
        place = {"h": 1, "w": _COLUMNS, "x": 0, "y": y}
        models.append(
            {"id": len(models) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        y, x, tallest = y + 1, 0, 0
        for panel in panels:
            if x + panel.width > _COLUMNS:
                y, x, tallest = y + tallest, 0, 0
            models.append(panel.model(len(models) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return models

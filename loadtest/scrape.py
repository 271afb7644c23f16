"""What a service's /metrics say, added up as a question asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scrape:
    """Values of series, by name and labels."""

    values: Mapping[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of Prometheus' text format; ValueError if it is none."""
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return cls({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series of this name that have these labels; 0 if there are none."""
        return sum(value for (each, of), value in self.values.items() if each == name and labels.items() <= set(of))

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Sums of the series of this name, by the values of these labels."""
        sums: dict[tuple[str, ...], float] = {}
        for (each, of), value in self.values.items():
            if each == name:
                told = dict(of)
                key = tuple(told.get(label, "") for label in labels)
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def since(self, before: "Scrape") -> "Scrape":
        """What was added; of gauges the difference."""
        return Scrape({series: value - before.values.get(series, 0.0) for series, value in self.values.items()})

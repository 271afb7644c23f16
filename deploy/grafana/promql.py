"""PromQL for the panels: sums over processes, by the dashboard's variables."""

from deploy.grafana.panels import Query

AT = 'instance=~"$instance"'
OF = f'{AT},schedule=~"$schedule"'
IN = f'{OF},stage=~"$stage"'
DONE = f'{OF},status="done"'


def rate(metric: str, by: str = "", where: str = AT) -> str:
    """By second."""
    over = f" by ({by})" if by else ""
    return f"sum{over} (rate(diffes_{metric}{{{where}}}[$__rate_interval]))"


def level(metric: str, how: str = "sum", by: str = "instance") -> str:
    """Of this moment."""
    return f"{how} by ({by}) (diffes_{metric}{{{AT}}})"


def mean(metric: str, by: str, where: str) -> str:
    """Of a histogram's observations."""
    return f"{rate(f'{metric}_sum', by, where)} / {rate(f'{metric}_count', by, where)}"


def quantiles(metric: str, where: str = AT, by: str = "") -> tuple[Query, ...]:
    """Median, p95 and p99 of a histogram."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    buckets = rate(f"{metric}_bucket", labels, where)
    return tuple(
        Query(f"histogram_quantile({share}, {buckets})", f"p{share * 100:g}{legend}") for share in (0.5, 0.95, 0.99)
    )


def within_slo() -> str:
    """Share of answers that came within $slo seconds, a bucket's edge."""
    within = DONE + ',le="$slo"'
    return f"{rate('request_seconds_bucket', where=within)} / {rate('request_seconds_count', where=DONE)}"

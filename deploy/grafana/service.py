"""What callers feel: traffic, latency, the queue."""

from deploy.grafana.panels import Panel, Query
from deploy.grafana.promql import AT, DONE, OF, level, quantiles, rate, within_slo

_BAD_BELOW = ((None, "red"), (0.99, "orange"), (0.999, "green"))
_BAD_ABOVE = ((None, "green"), (0.5, "orange"), (0.8, "red"))

NOW = (
    Panel(
        "Ready",
        "1 if every worker serves.",
        (Query(level("ready"), "{{instance}}"),),
        "bool_yes_no",
        "stat",
        3,
        steps=((None, "red"), (1, "green")),
    ),
    Panel("Requests", "Requests that ended, by second.", (Query(rate("requests_total")),), "reqps", "stat", 3),
    Panel("Images", "Images answered with, by second.", (Query(rate("images_total", where=OF)),), "short", "stat", 3),
    Panel(
        "Within the SLO",
        "Share of answers that came within $slo seconds.",
        (Query(within_slo()),),
        "percentunit",
        "stat",
        3,
        steps=_BAD_BELOW,
    ),
    Panel("p99", "Time from arrival to answer.", quantiles("request_seconds", DONE)[2:], "s", "stat", 3),
    Panel(
        "Queue used",
        "Waiting requests of those that may wait.",
        (Query(f"sum(diffes_queue_depth{{{AT}}}) / sum(diffes_queue_limit{{{AT}}})"),),
        "percentunit",
        "stat",
        3,
        steps=_BAD_ABOVE,
    ),
    Panel(
        "Backlog",
        "Forecast of what all inside will take.",
        (Query(f"max(diffes_backlog_seconds{{{AT}}})"),),
        "s",
        "stat",
        3,
    ),
    Panel(
        "Since the last step",
        "Grows while nothing runs.",
        (Query(f"time() - max(diffes_last_step_timestamp_seconds{{{AT}}} > 0)"),),
        "s",
        "stat",
        3,
    ),
)

TRAFFIC = (
    Panel(
        "Requests by end",
        "How requests ended; `invalid` ones never came to the engine.",
        (Query(rate("requests_total", "status"), "{{status}}"),),
        "reqps",
        width=6,
        stack=True,
    ),
    Panel(
        "Images by schedule",
        "Images answered with.",
        (Query(rate("images_total", "schedule", OF), "{{schedule}}"),),
        "short",
        width=6,
        stack=True,
    ),
    Panel(
        "Rejections",
        "Requests refused for want of room (429), by what was full.",
        (Query(rate("rejected_total", "reason"), "{{reason}}"),),
        "reqps",
        width=6,
        stack=True,
    ),
    Panel(
        "Shed",
        "Requests that a cheaper schedule than the default served, since much was waiting.",
        (Query(rate("shed_total", "schedule", OF), "{{schedule}}"),),
        "reqps",
        width=6,
        stack=True,
    ),
    Panel(
        "Failures",
        "Requests accepted and then failed (500), by where.",
        (Query(rate("failed_total", "reason"), "{{reason}}"),),
        "reqps",
        width=6,
        stack=True,
    ),
    Panel(
        "Engines that ended",
        "Requests that were inside an engine whose process ended (503), and engines started, the first ones included.",
        (Query(rate("lost_total"), "requests lost"), Query(rate("engine_starts_total"), "engines started")),
        "reqps",
        width=6,
    ),
)

LATENCY = (
    Panel(
        "Request",
        "Time from arrival to answer, beside the SLO.",
        (*quantiles("request_seconds", DONE), Query("vector($slo)", "SLO")),
        "s",
        width=6,
    ),
    Panel(
        "Answers within the SLO",
        "Share that came within $slo seconds.",
        (Query(within_slo(), "within"),),
        "percentunit",
        width=6,
        most=1,
    ),
    Panel(
        "First byte",
        "Time to a stream's first progress or preview, or to an answer.",
        quantiles("first_byte_seconds", AT, "kind")[1:],
        "s",
        width=6,
    ),
    Panel("In the queue", "Time from arrival to admission.", quantiles("queue_seconds"), "s", width=6),
)

INSIDE = (
    Panel(
        "Queue",
        "Requests that wait, and how many may.",
        (Query(level("queue_depth"), "waiting {{instance}}"), Query(level("queue_limit"), "limit {{instance}}")),
        "short",
    ),
    Panel(
        "Images running",
        "Images between two steps, and how many go together at most.",
        (Query(level("images_running"), "{{instance}}"), Query(level("batch_limit"), "{{instance}}, in a step")),
        "short",
    ),
    Panel(
        "Backlog",
        "Forecast of what all inside will take.",
        (Query(level("backlog_seconds", "max"), "{{instance}}"),),
        "s",
    ),
)

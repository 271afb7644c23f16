"""Runs as they might have been: what callers saw, and a service that tells the same of each request."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from loadtest.arrivals import Constant
from loadtest.endings import Ending
from loadtest.mix import Mix
from loadtest.plan import Plan
from loadtest.rows import Fate, Row, StageRow
from loadtest.scrape import Scrape
from loadtest.trial import Trial

PLAN = Plan(id="lt-1.1", seed=1, arrivals=Constant(rate=1), seconds=10, mix=Mix(), labels=10, patience=20)
OUTCOMES = {  # of what the engine has seen
    200: "done",
    429: "rejected",
    500: "failed",
    504: "expired",
    410: "cancelled",
    0: "cancelled",
}
STAGES = (
    StageRow(stage=0, steps=1, seconds=0.125, mean_batch=1.5),
    StageRow(stage=1, steps=3, seconds=0.25, mean_batch=2.0),
)
_STATUS: dict[Fate, int] = {"answered": 200, "refused": 429, "failed": 500, "left": 0}


def row(number: int, fate: Fate = "answered", **other: Any) -> Row:
    """One request a second, sent 1/16 s late; what is answered is so after 5/8 s."""
    told: dict[str, Any] = {"reason": "a reason"} if fate in ("refused", "failed") else {}
    if fate == "answered":
        told = {"request_id": f"img-{number}", "served_by": "fast", "digests": (f"{number:032x}",), "stages": STAGES}
        told |= {"queue_seconds": 0.0625, "total_seconds": 0.5}
    whole = Row(
        number=number,
        due=number,
        sent=number + 0.0625,
        ended=number + 0.625,
        fate=fate,
        label=0,
        seed=number,
        status=_STATUS[fate],
        **told,
    )
    return replace(whole, **other)


def ending(row: Row, **other: Any) -> Ending:
    """What the service's log says of a caller's row."""
    whole = Ending(
        name=PLAN.name(row.number),
        request_id=row.request_id or f"img-{row.number}",
        outcome=OUTCOMES[row.status],
        reason="",
        queue_seconds=row.queue_seconds,
        total_seconds=row.total_seconds,
        stages=tuple((stage.stage, stage.steps, stage.seconds) for stage in row.stages),
    )
    return replace(whole, **other)


def counted(**statuses: int) -> Scrape:
    """Requests by how they ended."""
    name = "diffes_requests_total"
    return Scrape({(name, frozenset({("status", status)})): float(count) for status, count in statuses.items()})


def trial(rows: Sequence[Row], **other: Any) -> Trial:
    """A run of ten seconds, and a service that has counted others before it."""
    logged = [ending(row) for row in rows if row.status in OUTCOMES]
    ends = Counter(each.outcome for each in logged)
    whole = Trial(
        plan=PLAN,
        rows=list(rows),
        began=1000.0,
        samples=[],
        before=counted(done=3, rejected=1),
        after=counted(done=3 + ends["done"], rejected=1 + ends["rejected"]),
        endings=logged,
        settled=True,
        happened=[],
    )
    return replace(whole, **other)

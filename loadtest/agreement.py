"""Whether callers and service tell the same story: what both say, joined by what both call a request."""

from collections import Counter
from collections.abc import Iterator, Sequence

from loadtest.endings import Ending
from loadtest.findings import outside
from loadtest.rows import Row, of_fate
from loadtest.trial import Trial

_OUTCOMES = {"answered": ("done",), "refused": ("rejected",), "failed": ("failed", "expired", "cancelled")}
_ROUNDED = 2e-6  # seconds: a log's times are told to a microsecond
_CLOCKS = 2e-3  # seconds by which a client's and a service's clock may differ over a request
_UNTOLD = 1.0  # seconds about the moment a process was killed, of which it may not have told any more
_SHOWN = 3


def disagreements(trial: Trial) -> list[str]:
    """What one side says and the other does not, a sentence each; none if they agree in all that can be compared."""
    found = list(_of_answers(trial.rows))
    if trial.endings is not None:
        found += _strangers(trial.rows, trial.endings, trial.plan.id)
        found += _of_endings(_told(trial), trial.endings, trial.plan.id)
    if trial.added is not None:
        found += _of_counts(trial)
    return found


def compared(trial: Trial) -> str:
    """What could be compared, in words."""
    parts = ["each answer's own times"]
    parts += ["the service's log, request by request"] if trial.endings is not None else []
    parts += ["the service's counters"] if trial.added is not None else []
    return ", ".join(parts)


def _told(trial: Trial) -> list[Row]:
    """Rows of which the service must know, too: not those that ended at about the time a process was killed."""
    kills = [each.began for each in trial.happened if each.kind.startswith("kill-")]
    return [row for row in trial.rows if not any(abs(kill - row.ended) <= _UNTOLD for kill in kills)]


def _of_answers(rows: Sequence[Row]) -> Iterator[str]:
    early = [row.number for row in of_fate(rows, "answered") if outside(row) < -_CLOCKS]
    if early:
        yield f"{len(early)} answers came before their service was done with them: {_some(early)}"
    wrong = [
        row.number
        for row in of_fate(rows, "answered")
        if row.stages and sum(stage.seconds for stage in row.stages) > row.total_seconds + _CLOCKS
    ]
    if wrong:
        yield f"{len(wrong)} answers tell of stages that took longer than all of the request: {_some(wrong)}"


def _strangers(rows: Sequence[Row], endings: Sequence[Ending], run: str) -> Iterator[str]:
    known = {f"{run}-{row.number}" for row in rows}
    if strangers := sorted({ending.name for ending in endings} - known):
        yield f"{len(strangers)} requests are in the service's log that no caller tells of: {_some(strangers)}"


def _of_endings(rows: Sequence[Row], endings: Sequence[Ending], run: str) -> Iterator[str]:
    told: dict[str, list[Ending]] = {}
    for ending in endings:
        told.setdefault(ending.name, []).append(ending)
    twice = [name for name, of in told.items() if len(of) > 1]
    if twice:
        yield f"{len(twice)} requests ended more than once in the service's log: {_some(twice)}"
    yield from _of_outcomes(rows, told, run)
    yield from _of_times(rows, told, run)


def _of_outcomes(rows: Sequence[Row], told: dict[str, list[Ending]], run: str) -> Iterator[str]:
    """Who got an answer is done for the service, and so on. A caller who left may have met any end, or none."""
    for fate, outcomes in _OUTCOMES.items():
        other = Counter[str]()
        for row in rows:
            of = told.get(f"{run}-{row.number}")
            if row.fate != fate or (of is None and not _must_be_known(row)):
                continue
            outcome = of[0].outcome if of else "nothing"
            if outcome not in outcomes and not _is_lost(row):
                other[outcome] += 1
        for outcome, count in other.items():
            yield f"{count} requests are {fate} for their callers, and {outcome} in the service's log"


def _is_lost(row: Row) -> bool:
    """Whether its caller stayed and has not seen what the service made of it."""
    return row.fate == "failed" and row.status == 0


def _must_be_known(row: Row) -> bool:
    """What the engine has seen is logged; refusals before it and lost connections need not be."""
    return row.fate == "answered" or row.status in (429, 504)


def _of_times(rows: Sequence[Row], told: dict[str, list[Ending]], run: str) -> Iterator[str]:
    apart = []
    for row in of_fate(rows, "answered"):
        for ending in told.get(f"{run}-{row.number}", [])[:1]:
            if not _same(row, ending):
                apart.append(row.number)
    if apart:
        yield f"{len(apart)} requests have other ids or times in their answers than in the log: {_some(apart)}"


def _same(row: Row, ending: Ending) -> bool:
    mine = [row.queue_seconds, row.total_seconds, *(stage.seconds for stage in row.stages)]
    its = [ending.queue_seconds, ending.total_seconds, *(seconds for _, _, seconds in ending.stages)]
    return (
        row.request_id == ending.request_id
        and len(mine) == len(its)
        and all(abs(one - other) <= _ROUNDED for one, other in zip(mine, its, strict=True))
    )


def _of_counts(trial: Trial) -> Iterator[str]:
    """Counters tell of all callers, so more than ours may be there only if others asked too."""
    assert trial.added is not None
    done = trial.added.total("diffes_requests_total", status="done")
    rejected = trial.added.total("diffes_requests_total", status="rejected")
    seen = [row for row in _told(trial) if row.fate != "left" and not _is_lost(row)]
    answered, refused = len(of_fate(seen, "answered")), sum(row.status == 429 for row in seen)
    others = len(trial.rows) - len(seen)
    for name, ours, its in (("answered", answered, done), ("refused", refused, rejected)):
        if not ours <= its <= ours + others:
            yield (
                f"callers saw {ours} requests {name}, and not how {others} others ended; the service counted {its:g}."
                " Did others ask it, too, or was it started anew?"
            )


def _some(those: Sequence[object]) -> str:
    return ", ".join(map(str, those[:_SHOWN])) + (", ..." if len(those) > _SHOWN else "")

"""Where callers and service tell the same, nothing is said; what one of them has changed is said in a sentence."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.agreement import compared, disagreements
from loadtest.faults import Happened
from loadtest.rows import Fate, StageRow
from loadtest.trial import Trial
from tests.loadtest.trials import STAGES, counted, ending, row, trial

ANY = ("done", "rejected", "failed", "expired", "cancelled", None)
KINDS: list[tuple[Fate, int, tuple[str | None, ...]]] = [
    ("answered", 200, ("done",)),
    ("refused", 429, ("rejected",)),
    ("refused", 503, (None,)),
    ("failed", 500, ("failed", None)),
    ("failed", 504, ("expired",)),
    ("failed", 410, ("cancelled",)),
    ("failed", 0, ANY),
    ("left", 0, ANY),
]
ROWS = [
    *(row(number) for number in range(5)),
    row(5, "refused"),
    row(6, "failed", status=504),
    row(7, "failed"),
    row(8, "left"),
    row(9, "failed", status=0, reason="connection lost"),
]
TOLD = trial(ROWS)
ENDINGS = [ending(row) for row in ROWS]
LONG = (STAGES[0], replace(STAGES[1], seconds=0.5))


@st.composite
def stories(draw: st.DrawFn) -> Trial:
    """Rows of all kinds, each with an end that it may have met, and counters of just these."""
    rows, endings = [], []
    for number, (fate, status, outcomes) in enumerate(draw(st.lists(st.sampled_from(KINDS), max_size=20))):
        rows.append(row(number, fate, status=status))
        if (outcome := draw(st.sampled_from(outcomes))) is not None:
            endings.append(ending(rows[-1], outcome=outcome))
    ends = Counter(ending.outcome for ending in endings)
    after = counted(done=3 + ends["done"], rejected=1 + ends["rejected"])
    return trial(rows, endings=draw(st.permutations(endings)), after=after)


@given(stories())
def test_sides_that_agree_are_not_spoken_of(told: Trial) -> None:
    assert disagreements(told) == []


seconds = st.floats(0, 1e3)


@given(seconds, seconds, st.lists(seconds, max_size=3))
def test_a_log_s_rounding_is_no_disagreement(queue: float, total: float, stages: list[float]) -> None:
    times = tuple(StageRow(stage=i, steps=1, seconds=each, mean_batch=1) for i, each in enumerate(stages))
    total += sum(stages)
    told = row(0, ended=0.0625 + total, queue_seconds=queue, total_seconds=total, stages=times)
    rounded = ending(
        told,
        queue_seconds=round(queue, 6),
        total_seconds=round(total, 6),
        stages=tuple((index, 1, round(each, 6)) for index, each in enumerate(stages)),
    )
    assert disagreements(trial([told], endings=[rounded])) == []


def logged(number: int, **other: Any) -> Trial:
    """With another line for one request."""
    return replace(TOLD, endings=[ending(row, **(other if row.number == number else {})) for row in ROWS])


def seen(number: int, **other: Any) -> Trial:
    """With another row of one caller."""
    return replace(TOLD, rows=[replace(row, **(other if row.number == number else {})) for row in ROWS])


def without(*numbers: int) -> Trial:
    return replace(TOLD, endings=[ending(row) for row in ROWS if row.number not in numbers])


OTHER_TIMES = "1 requests have other ids or times in their answers than in the log: 2"
TAMPERED: dict[str, tuple[Trial, str]] = {
    "an answer is not logged": (without(2), "1 requests are answered for their callers, and nothing in the"),
    "a refusal is not logged": (without(5), "1 requests are refused for their callers, and nothing in the"),
    "an expiry is not logged": (without(6), "1 requests are failed for their callers, and nothing in the"),
    "an answer failed": (logged(2, outcome="failed"), "1 requests are answered for their callers, and failed in the"),
    "a refusal is done": (logged(5, outcome="done"), "1 requests are refused for their callers, and done in the"),
    "a failure is done": (logged(7, outcome="done"), "1 requests are failed for their callers, and done in the"),
    "doubled": (replace(TOLD, endings=[*ENDINGS, ENDINGS[2]]), "1 requests ended more than once"),
    "other queue": (logged(2, queue_seconds=0.06251), OTHER_TIMES),
    "other total": (logged(2, total_seconds=0.49999), OTHER_TIMES),
    "another stage": (logged(2, stages=((0, 1, 0.125), (1, 3, 0.2501))), OTHER_TIMES),
    "a stage less": (logged(2, stages=((0, 1, 0.125),)), OTHER_TIMES),
    "another id": (logged(2, request_id="img-3"), OTHER_TIMES),
    "early": (seen(2, ended=2.55), "1 answers came before their service was done with them: 2"),
    "long": (
        trial(seen(2, stages=LONG).rows),
        "1 answers tell of stages that took longer than all of the request: 2",
    ),
}


@pytest.mark.parametrize(("told", "sentence"), TAMPERED.values(), ids=TAMPERED)
def test_whatever_differs_is_told_in_one_sentence(told: Trial, sentence: str) -> None:
    (found,) = disagreements(told)
    assert found.startswith(sentence)


def test_differences_that_clocks_may_have_are_not_told() -> None:
    assert disagreements(seen(2, ended=2.0625 + 0.5 - 0.0019)) == []
    assert disagreements(logged(2, total_seconds=0.500001)) == []


def test_a_stranger_is_told_by_its_name() -> None:
    stranger = ending(row(77), outcome="cancelled")
    told = replace(TOLD, endings=[*ENDINGS, stranger])
    assert disagreements(told) == ["1 requests are in the service's log that no caller tells of: lt-1.1-77"]


def test_of_many_the_first_are_named() -> None:
    (found,) = disagreements(replace(TOLD, endings=[ending(row, request_id="") for row in ROWS]))
    assert found.endswith("5 requests have other ids or times in their answers than in the log: 0, 1, 2, ...")


def test_each_kind_of_difference_is_told_by_itself() -> None:
    changed = [ending(row, outcome="failed") for row in ROWS[:2]]
    assert disagreements(replace(TOLD, endings=changed + ENDINGS[3:])) == [
        "2 requests are answered for their callers, and failed in the service's log",
        "1 requests are answered for their callers, and nothing in the service's log",
    ]


@pytest.mark.parametrize("number", [8, 9], ids=["left", "lost"])
@pytest.mark.parametrize("outcome", ANY)
def test_whose_end_nobody_saw_may_have_met_any(number: int, outcome: str | None) -> None:
    told = without(number) if outcome is None else logged(number, outcome=outcome)
    assert disagreements(told) == []


def count(done: int = 0, rejected: int = 0) -> list[str]:
    """What is said if the service has counted so many more than callers saw: two saw no end."""
    return disagreements(replace(TOLD, after=counted(done=3 + 5 + done, rejected=1 + 1 + rejected)))


def test_counters_may_have_those_whose_end_nobody_saw() -> None:
    assert [count(done=more) for more in range(3)] == [[], [], []]
    assert [count(rejected=more) for more in range(3)] == [[], [], []]


@pytest.mark.parametrize(
    ("more", "name", "counts"),
    [
        ({"done": -1}, "5 requests answered", "counted 4."),
        ({"done": 3}, "5 requests answered", "counted 8."),
        ({"rejected": -1}, "1 requests refused", "counted 0."),
        ({"rejected": 3}, "1 requests refused", "counted 4."),
    ],
)
def test_counters_that_have_less_or_more_are_told(more: dict[str, int], name: str, counts: str) -> None:
    (found,) = count(**more)
    assert found.startswith(f"callers saw {name}, and not how 2 others ended; the service {counts}")


def test_a_service_that_was_started_anew_has_counted_less() -> None:
    (found,) = disagreements(replace(TOLD, before=counted(done=100, rejected=1)))
    assert "the service counted -92. Did others ask it, too, or was it started anew?" in found


def killed(at: float, kind: str = "kill-worker") -> list[Happened]:
    return [Happened(kind, at, at, "killed worker 7")]


@pytest.mark.parametrize("fate", ["answered", "refused"])
def test_who_ended_about_when_a_worker_was_killed_is_not_demanded(fate: Fate) -> None:
    ours = row(2, fate)
    untold = trial([ours], endings=[], after=counted(done=3, rejected=1))
    for apart in (-1, -0.05, 0, 1):
        happened = killed(ours.ended + apart)
        assert disagreements(replace(untold, happened=happened)) == []
        assert disagreements(trial([ours], happened=happened)) == []
    for apart in (-1.1, 1.1):
        unlogged, uncounted = disagreements(replace(untold, happened=killed(ours.ended + apart)))
        assert unlogged == f"1 requests are {fate} for their callers, and nothing in the service's log"
        assert uncounted.startswith(f"callers saw 1 requests {fate}, and not how 0 others ended")


def test_no_other_fault_excuses_anything() -> None:
    (found,) = disagreements(replace(without(2), happened=killed(ROWS[2].ended, "pause-worker")))
    assert found.startswith("1 requests are answered for their callers, and nothing in")


def test_what_is_not_there_is_not_compared() -> None:
    wrong = replace(without(2), after=counted(done=0))
    assert len(disagreements(wrong)) == 3
    assert disagreements(replace(wrong, endings=None, after=None)) == []
    assert disagreements(replace(wrong, endings=None, before=None)) == []


def test_what_was_compared_is_told() -> None:
    assert compared(TOLD) == "each answer's own times, the service's log, request by request, the service's counters"
    assert compared(replace(TOLD, after=None)) == "each answer's own times, the service's log, request by request"
    assert compared(replace(TOLD, endings=None, before=None)) == "each answer's own times"


def test_a_run_without_requests_agrees() -> None:
    assert disagreements(trial([])) == []

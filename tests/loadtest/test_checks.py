"""A promise is kept up to its last request, and a run is sound or says why it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.checks import Check, at_most, of_slo, sound
from loadtest.findings import Findings, Times, find
from loadtest.scenario import Slo
from tests.loadtest.results import findings
from tests.loadtest.trials import PLAN, row, trial


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def promised(slo: Slo, found: Findings) -> dict[str, bool]:
    return {name: check.holds for name, check in by_name(of_slo(slo, found)).items()}


IN_TIME, FAILED, REFUSED = "answered within 1 s of when due", "failed", "refused"


def judged(total: int, slo: Slo, **fates: int) -> dict[str, bool]:
    """Of so many requests; who is not told of is answered in time."""
    of = [fate for fate, count in fates.items() for _ in range(count)]
    of += ["answered"] * (total - len(of))
    plan = PLAN.model_copy(update={"seconds": float(total)})
    rows = [row(number, fate) for number, fate in enumerate(of)]  # type: ignore[arg-type]
    return promised(slo, find(trial(rows, plan=plan), slo))


@given(st.integers(1, 300), st.data())
def test_exactly_the_share_that_was_promised_holds_and_one_less_does_not(total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total))
    slo = Slo(within=1, share=(total - bad) / total, failed=bad / total, refused=bad / total)
    for fate in ("failed", "refused"):
        assert all(judged(total, slo, **{fate: bad}).values())
        if bad < total:
            broken = judged(total, slo, **{fate: bad + 1})
            assert [name for name, holds in broken.items() if not holds] == [IN_TIME, fate]


@pytest.mark.parametrize(("share", "of", "late"), [(0.99, 100, 1), (0.99, 300, 3), (0.95, 20, 1), (0.7, 10, 3)])
def test_shares_as_they_are_written_are_exact(share: float, of: int, late: int) -> None:
    for more, holds in ((0, True), (1, False)):
        rows = [row(number, ended=number + (2 if number < late + more else 1)) for number in range(of)]
        plan = PLAN.model_copy(update={"seconds": float(of)})
        slo = Slo(within=1, share=share)
        assert promised(slo, find(trial(rows, plan=plan), slo)) == {IN_TIME: holds, FAILED: True, REFUSED: True}


def test_who_left_is_not_counted() -> None:
    slo = Slo(within=1, share=0.5, failed=0.5)
    assert all(judged(10, slo, left=8, failed=1).values())
    assert not judged(10, slo, left=8, failed=2)[IN_TIME]
    assert all(judged(10, Slo(within=1, share=1, refused=0), left=10).values())


def test_what_was_found_is_told_beside_what_was_asked() -> None:
    found = findings(requests=12, fates={"answered": 8, "failed": 1, "refused": 1, "left": 2}, in_time=0.8)
    assert [(check.name, check.asked, check.found) for check in of_slo(Slo(within=0.25), found)] == [
        ("answered within 0.25 s of when due", "99.00% or more", "80.00% of 10"),
        ("failed", "0.00% at most", "10.00%, 1 of 10"),
        ("refused", "100.00% at most", "10.00%, 1 of 10"),
    ]


def test_one_failure_of_many_is_seen_though_its_share_is_not() -> None:
    found = findings(requests=100_000, fates={"answered": 99_999, "failed": 1}, in_time=0.99999)
    check = by_name(of_slo(Slo(within=1), found))["failed"]
    assert (check.found, check.holds) == ("0.01%, 1 of 100000", False)


@given(st.integers(1, 10**6), st.data())
def test_what_misses_a_limit_is_never_told_as_the_limit(total: int, data: st.DataObject) -> None:
    late, failed = (data.draw(st.integers(0, total)) for _ in range(2))
    found = findings(
        requests=total, fates={"answered": total - failed, "failed": failed}, in_time=(total - late) / total
    )
    for check in of_slo(Slo(within=1, share=0.99, failed=0.001), found):
        told, asked = (float(words.split("%")[0]) for words in (check.found, check.asked))
        assert check.holds == (told <= asked if "at most" in check.asked else told >= asked)


FIRST = "first answer after the service's start"


@pytest.mark.parametrize(
    ("seconds", "told", "holds"), [(59.5, "59.5 s", True), (60.0, "60 s", True), (61.0, "61 s", False)]
)
def test_a_first_answer_is_in_time_or_not(seconds: float, told: str, holds: bool) -> None:
    check = by_name(of_slo(Slo(within=1, first_answer=60), findings(first_answer=seconds)))[FIRST]
    assert (check.asked, check.found, check.holds) == ("60 s at most", told, holds)


def test_no_answer_is_no_first_answer_and_who_asks_for_none_hears_of_none() -> None:
    check = by_name(of_slo(Slo(within=1, first_answer=60), findings()))[FIRST]
    assert (check.found, check.holds) == ("none", False)
    assert FIRST not in by_name(of_slo(Slo(within=1), findings(first_answer=3.0)))


def broken(found: Findings, *disagreements: str, settled: bool | None = True, within: float = 1) -> list[str]:
    """What does not hold of a run."""
    return [check.name for check in sound(Slo(within=within), found, disagreements, settled=settled) if not check.holds]


def test_a_sound_run_breaks_nothing_and_each_fault_one_check() -> None:
    assert broken(findings()) == broken(findings(), settled=None) == broken(findings(late=None)) == []
    assert broken(findings(fates={"unknown": 1})) == ["unknown fates"]
    assert broken(findings(), settled=False) == ["the service at the end"]
    assert broken(findings(), "they differ") == ["both sides' figures"]


def test_a_failing_service_does_not_make_a_run_unsound() -> None:
    assert broken(findings(fates={"answered": 0, "failed": 5, "refused": 5})) == []


@pytest.mark.parametrize(("late", "holds"), [(0.05, True), (0.0501, False)])
def test_requests_are_sent_within_a_twentieth_of_what_callers_wait(late: float, holds: bool) -> None:
    found = findings(late=Times(p50=0, p95=0, p99=late, most=10))
    assert broken(found) == ([] if holds else ["requests sent when due, p99 of the delay"])
    assert broken(found, within=2) == []


def test_what_was_found_of_a_run_is_told_in_words() -> None:
    late = Times(p50=0, p95=0, p99=0.012, most=1)
    checks = sound(Slo(within=1), findings(fates={"unknown": 2}, late=late), ["a", "b"], settled=False)
    assert [(check.asked, check.found) for check in checks] == [
        ("0 at most", "2"),
        ("nobody inside", "requests inside, though no caller waits"),
        ("they agree", "2 disagreements"),
        ("50 ms at most", "12 ms"),
    ]
    found = [check.found for check in sound(Slo(within=1), findings(late=None), [], settled=None)]
    assert found == ["0", "it does not say", "they do", "0 ms"]


def test_at_most_so_many_are_so_many() -> None:
    assert [at_most("wrong images", 1, count).holds for count in range(3)] == [True, True, False]

"""All that was asked in one line: what holds, or everything that does not."""

import pytest

from loadtest.result import RunResult
from loadtest.verdict import sentence, verdict
from tests.loadtest.results import COMPARISON, contender, findings, run, sustained

IN_TIME = "answered within 2 s of when due"
SOUND = [
    "unknown fates",
    "the service at the end",
    "both sides' figures",
    "requests sent when due, p99 of the delay",
]
BAD = findings(fates={"answered": 8, "failed": 2})


def broken(*runs: RunResult, **other: object) -> list[str]:
    return [check.name for check in verdict([contender("service", *runs, **other)]) if not check.holds]


def test_a_test_of_one_run_is_asked_for_its_slo_and_a_sound_run() -> None:
    assert [check.name for check in verdict([contender()])] == [IN_TIME, "failed", "refused", *SOUND]
    assert broken() == []
    assert broken(run(found=BAD)) == [IN_TIME, "failed"]
    assert broken(run(disagreements=("they differ",))) == ["both sides' figures"]


def test_a_search_is_asked_for_a_rate_and_not_for_the_slo_of_its_runs() -> None:
    found = contender("service", run(), run(found=BAD), sustained=sustained(3.21, confirmed=True))
    assert [check.name for check in verdict([found])] == ["highest rate", *SOUND]
    assert all(check.holds for check in verdict([found]))


@pytest.mark.parametrize(
    ("rate", "confirmed", "told"), [(3.214, True, "3.21/s"), (3.214, False, "3.21/s, once"), (None, False, "none")]
)
def test_a_rate_holds_if_it_held_twice(rate: float | None, confirmed: bool, told: str) -> None:
    check = verdict([contender(sustained=sustained(rate, confirmed=confirmed))])[0]
    assert (check.name, check.asked, check.found) == ("highest rate", "one that holds twice", told)
    assert check.holds == confirmed


def test_every_run_has_to_be_sound_and_the_first_that_is_not_is_told() -> None:
    runs = [run(), run(disagreements=("a", "b")), run(disagreements=("c",)), run(found=findings(fates={"unknown": 4}))]
    checks = verdict([contender("service", *runs, sustained=sustained(1.0, confirmed=True))])
    assert {check.name: check.found for check in checks if not check.holds} == {
        "unknown fates": "4",
        "both sides' figures": "2 disagreements",
    }
    assert len(checks) == 1 + len(SOUND)


def test_no_image_may_be_wrong() -> None:
    assert broken(images=COMPARISON) == []
    wrong = contender(images=COMPARISON.model_copy(update={"wrong": ["a.png", "b.png"]}))
    last = verdict([wrong])[-1]
    assert (last.name, last.asked, last.found, last.holds) == ("wrong images", "0 at most", "2", False)


def test_only_of_several_contenders_names_are_told() -> None:
    checks = verdict([contender("dense"), contender("fast", run(found=BAD))])
    names = [check.name for check in checks]
    assert names == [
        f"{name}: {check}" for name in ("dense", "fast") for check in (IN_TIME, "failed", "refused", *SOUND)
    ]
    assert [check.name for check in checks if not check.holds] == [f"fast: {IN_TIME}", "fast: failed"]
    assert all(":" not in check.name for check in verdict([contender("dense")]))


def test_what_holds_is_told_by_its_first_check() -> None:
    told = sentence(verdict([contender()]))
    assert told == f"PASS: {IN_TIME}: 100.00% of 10 (asked: 90.00% or more); 7 checks hold."


def test_all_that_does_not_hold_is_told() -> None:
    told = sentence(verdict([contender("service", run(found=BAD, disagreements=("they differ",)))]))
    assert told == (
        f"FAIL: {IN_TIME}: 80.00% of 10 (asked: 90.00% or more); failed: 20.00%, 2 of 10 (asked: 5.00% at most);"
        " both sides' figures: 1 disagreements (asked: they agree)."
    )

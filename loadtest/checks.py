"""Whether a run kept to what its scenario promises, and whether what is told of it can be trusted."""

from collections.abc import Callable, Sequence
from math import ceil, floor

from pydantic import BaseModel, ConfigDict

from loadtest.findings import Findings
from loadtest.rows import UNKNOWN
from loadtest.scenario import Slo

_LATE_SHARE = 0.05  # of what callers may wait: a generator later than that tells of itself


class Check(BaseModel):
    """What was asked, what was found, and whether that is as asked."""

    model_config = ConfigDict(frozen=True)

    name: str
    asked: str
    found: str
    holds: bool


def sound(slo: Slo, found: Findings, disagreements: Sequence[str], *, settled: bool | None) -> list[Check]:
    """What has to hold of any run, however much it was asked to bear. What cannot be looked at (None) holds."""
    return [
        at_most("unknown fates", 0, found.fates[UNKNOWN]),
        _settled(settled),
        _agree(disagreements),
        _on_time(slo, found),
    ]


def of_slo(slo: Slo, found: Findings) -> list[Check]:
    """What callers were promised."""
    stayed = found.requests - found.fates["left"]
    return [
        Check(
            name=f"answered within {slo.within:.3g} s of when due",
            asked=f"{slo.share:.2%} or more",
            found=f"{_told(found.in_time, floor)} of {stayed}",
            holds=found.in_time >= slo.share,
        ),
        _share("failed", slo.failed, found.fates["failed"], stayed),
        _share("refused", slo.refused, found.fates["refused"], stayed),
        *([] if slo.first_answer is None else [_first_answer(slo.first_answer, found.first_answer)]),
    ]


def at_most(name: str, most: int, count: int) -> Check:
    return Check(name=name, asked=f"{most} at most", found=str(count), holds=count <= most)


def _share(name: str, most: float, count: int, stayed: int) -> Check:
    share = count / stayed if stayed else 0.0
    told = f"{_told(share, ceil)}, {count} of {stayed}"
    return Check(name=name, asked=f"{most:.2%} at most", found=told, holds=share <= most)


def _told(share: float, rounded: Callable[[float], int]) -> str:
    """In per cent, never as the limit that it misses."""
    return f"{rounded(round(share * 1e4, 6)) / 1e4:.2%}"


def _settled(settled: bool | None) -> Check:
    found = {True: "nobody inside", False: "requests inside, though no caller waits", None: "it does not say"}[settled]
    return Check(name="the service at the end", asked="nobody inside", found=found, holds=settled is not False)


def _first_answer(most: float, seconds: float | None) -> Check:
    return Check(
        name="first answer after the service's start",
        asked=f"{most:g} s at most",
        found="none" if seconds is None else f"{seconds:.3g} s",
        holds=seconds is not None and seconds <= most,
    )


def _agree(disagreements: Sequence[str]) -> Check:
    found = f"{len(disagreements)} disagreements" if disagreements else "they do"
    return Check(name="both sides' figures", asked="they agree", found=found, holds=not disagreements)


def _on_time(slo: Slo, found: Findings) -> Check:
    most, late = slo.within * _LATE_SHARE, found.late.p99 if found.late else 0.0
    return Check(
        name="requests sent when due, p99 of the delay",
        asked=f"{most * 1e3:.3g} ms at most",
        found=f"{late * 1e3:.3g} ms",
        holds=late <= most,
    )

"""What a run came to, in numbers: all of them from what was kept of it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from loadtest.rows import FATES, UNKNOWN, Row, of_fate, percentile
from loadtest.scenario import Slo
from loadtest.trial import Trial

QUANTILES = (0.5, 0.95, 0.99)
_SETTLING = 1 / 6  # of a run: first requests of every kind, and allocators that find their sizes
_SLOPE_SECONDS = 240.0  # no slope is told of less


class Times(BaseModel):
    """Quantiles of some times, seconds."""

    model_config = ConfigDict(frozen=True)

    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Times | None":
        """Exact; None of nothing."""
        if not values:
            return None
        p50, p95, p99 = (percentile(values, quantile) for quantile in QUANTILES)
        return cls(p50=p50, p95=p95, p99=p99, most=max(values))


class StageShare(BaseModel):
    """What one stage took of the service's time: denoiser calls' seconds and count, images that went together."""

    model_config = ConfigDict(frozen=True)

    schedule: str
    stage: int
    seconds: float
    calls: float
    images: float  # in all calls

    @property
    def batch(self) -> float:
        """Images in a call, on average."""
        return self.images / self.calls


class Memory(BaseModel):
    """Resident bytes at the first and the last look and at most; what grows in an hour, once it has settled."""

    model_config = ConfigDict(frozen=True)

    first: float
    last: float
    most: float
    hourly: float | None  # None: too short for a slope
    device: float | None = None  # at most, of GPUs


class Findings(BaseModel):
    """Counts, rates per second, times in seconds. Shares are of all requests, less those whose callers left.

    `outside` is what a request took beyond what the service says: HTTP, and making a PNG of its images. `late` is how
    long after it was due a request was sent, which is the load generator's fault.
    """

    model_config = ConfigDict(frozen=True)

    seconds: float  # from time 0 until the last request had ended, or until the last should have been due
    requests: int
    fates: dict[str, int]
    reasons: dict[str, int]  # of those refused and failed
    offered: float
    answered: float
    images: float
    goodput: float
    in_time: float  # share
    latency: Times | None  # of the answered
    first: Times | None  # of streams: the first thing made of the images
    queue: Times | None
    outside: Times | None
    late: Times | None
    first_answer: float | None  # since a service that is ours was started
    stages: list[StageShare]
    batch: float | None  # images in a denoiser call
    memory: Memory | None


def find(trial: Trial, slo: Slo, started: float | None = None) -> Findings:
    """The numbers of one run, beside an SLO in seconds; `started` is when the service was, seconds since 1970."""
    rows = trial.rows
    answered = of_fate(rows, "answered")
    counts = Counter[str](row.fate for row in rows)
    fates = {fate: counts[fate] for fate in FATES} | {UNKNOWN: trial.planned - len(rows)}
    stayed = trial.planned - fates["left"]
    good = sum(row.seconds <= slo.within for row in answered)
    seconds = max([trial.plan.seconds, *(row.ended for row in rows)])
    stages = _stages(trial)
    calls = sum(stage.calls for stage in stages)
    return Findings(
        seconds=seconds,
        requests=trial.planned,
        fates=fates,
        reasons=dict(Counter(row.reason for row in of_fate(rows, "refused", "failed")).most_common()),
        offered=trial.planned / trial.plan.seconds,
        answered=len(answered) / seconds,
        images=sum(row.images for row in answered) / seconds,
        goodput=good / seconds,
        in_time=good / stayed if stayed else 1.0,
        latency=Times.of([row.seconds for row in answered]),
        first=Times.of([row.first - row.due for row in answered if row.first is not None]),
        queue=Times.of([row.queue_seconds for row in answered]),
        outside=Times.of([outside(row) for row in answered]),
        late=Times.of([row.late for row in rows]),
        first_answer=_first_answer(trial, started),
        stages=stages,
        batch=sum(stage.images for stage in stages) / calls if calls else None,
        memory=_memory(trial),
    )


def _first_answer(trial: Trial, started: float | None) -> float | None:
    ends = [row.ended for row in of_fate(trial.rows, "answered")]
    return trial.began + min(ends) - started if ends and started is not None else None


def outside(row: Row) -> float:
    """What an answered request took beyond what its service says of it, seconds."""
    return row.ended - row.sent - row.total_seconds


def _stages(trial: Trial) -> list[StageShare]:
    if (added := trial.added) is None:
        return []
    of = {
        name: added.by(f"diffes_step_{series}", "schedule", "stage")
        for name, series in (("seconds", "seconds_sum"), ("calls", "seconds_count"), ("images", "images_sum"))
    }
    return [
        StageShare(
            schedule=key[0], stage=int(key[1]), calls=calls, seconds=of["seconds"][key], images=of["images"][key]
        )
        for key, calls in sorted(of["calls"].items(), key=lambda item: (item[0][0], int(item[0][1])))
        if calls
    ]


def _memory(trial: Trial) -> Memory | None:
    looks = [(sample.at, float(sample.resident)) for sample in trial.samples if sample.resident]
    if not looks:
        return None
    at, resident = np.array(looks).T
    settled, seconds = slice(int(len(looks) * _SETTLING), None), at - at[0]
    slope = float(np.polyfit(seconds[settled], resident[settled], 1)[0]) if seconds[-1] >= _SLOPE_SECONDS else None
    device = [float(sample.device) for sample in trial.samples if sample.device is not None]
    return Memory(
        first=resident[0],
        last=resident[-1],
        most=resident.max(),
        hourly=None if slope is None else slope * 3600,
        device=max(device, default=None),
    )

"""Whether the load generator is an open loop: how long its callers wait at a service that queueing theory knows.

    python benchmarks/open_loop.py --utilisation 0.5 0.7 0.9 --requests 20000 40000 300000 --out RESULT.json

one_time_service.py runs as a process of its own and takes one request at a time, each for the same time D; locust sends
it Poisson arrivals at each utilisation. What callers wait, beyond what one takes alone, stands beside what Lindley's
recursion gives for the very times at which the requests were due (nothing is random between the two) and beside M/D/1's
mean, rho D / (2 (1 - rho)), of which a run of this length is a sample: within 5 % of it, nineteen times of twenty, at
these numbers of requests. At 10 ms that takes an hour and a quarter.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import t as student

from diffes.files import write_text_atomically
from loadtest.arrivals import Constant, Poisson
from loadtest.mix import Mix
from loadtest.plan import Plan
from loadtest.rows import Row, percentile
from loadtest.run import sending

_SERVICE = Path(__file__).with_name("one_time_service.py")
_BATCHES = 20
_CONFIDENCE = 0.95
_ALONE = 1000  # requests
_APART = 2  # times what one takes: nobody meets another, and the machine does not fall asleep meanwhile
_PATIENCE = 600.0


@contextmanager
def serving(seconds: float) -> Iterator[str]:
    """The address of a service that takes so long."""
    command = [sys.executable, str(_SERVICE), "--service-ms", str(seconds * 1e3)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def sent(url: str, arrivals: Constant | Poisson, requests: int, seed: int) -> list[Row]:
    """Every request's row, in the order they were due; SystemExit if one was not answered."""
    seconds = 2 * requests / arrivals.mean  # enough for all of them
    plan = Plan(
        id="open-loop",
        seed=seed,
        arrivals=arrivals,
        seconds=seconds,
        requests=requests,
        mix=Mix(seeds=1),
        labels=1,
        patience=_PATIENCE,
    )
    with TemporaryDirectory() as folder, sending(plan, url, Path(folder) / "run") as run:
        run.require_whole()
        rows = sorted(run.rows(), key=lambda row: row.number)
    lost = [row.reason for row in rows if row.fate != "answered"]
    if lost or len(rows) != requests:
        sys.exit(f"{requests} were due, {len(rows)} have ended, {len(lost)} of them without an answer: {lost[:3]}")
    return rows


def lindley(due: Sequence[float], service: float) -> NDArray[np.float64]:
    """What each waits if one is served at a time: W' = max(0, W + D - distance), unrolled."""
    steps = np.concatenate([[0.0], service - np.diff(due)])
    walk = np.cumsum(steps)
    waits: NDArray[np.float64] = walk - np.minimum.accumulate(walk)
    return waits


def interval(waits: NDArray[np.float64]) -> tuple[float, float]:
    """In which the mean of a longer run lies with 95 %: batches are long enough to know little of one another."""
    means = np.array([batch.mean() for batch in np.array_split(waits, _BATCHES)])
    half = student.ppf((1 + _CONFIDENCE) / 2, _BATCHES - 1) * means.std(ddof=1) / _BATCHES**0.5
    return float(means.mean() - half), float(means.mean() + half)


def measure(url: str, utilisation: float, service: float, alone: float, requests: int, seed: int) -> dict[str, Any]:
    """One utilisation: the mean wait as it was felt, as it must be for these times, and as theory has it."""
    rows = sent(url, Poisson(rate=utilisation / service), requests, seed)
    waits = np.array([row.seconds for row in rows]) - alone
    late = [row.late for row in rows]
    measured, due = float(waits.mean()), float(lindley([row.due for row in rows], service).mean())
    theory = utilisation * service / (2 * (1 - utilisation))
    return {
        "utilisation": utilisation,
        "requests": len(rows),
        "seconds": rows[-1].ended,
        "wait_seconds": measured,
        "interval": interval(waits),
        "lindley_seconds": due,
        "theory_seconds": theory,
        "measured_by_lindley": measured / due,
        "measured_by_theory": measured / theory,
        "lindley_by_theory": due / theory,
        "late_seconds": {"p50": percentile(late, 0.5), "p99": percentile(late, 0.99)},
    }


def machine() -> dict[str, Any]:
    """On what, and with what."""
    versions = {name: version(name) for name in ("locust", "gevent", "geventhttpclient")}
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": {"python": platform.python_version(), **versions},
    }


def main() -> None:
    """Measure what one takes alone, then each utilisation, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utilisation", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    parser.add_argument("--requests", type=int, nargs="+", default=[20_000, 40_000, 300_000], help="of each")
    parser.add_argument("--service-ms", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    service = options.service_ms / 1e3
    with serving(service) as url:
        slow = [row.seconds for row in sent(url, Constant(rate=1 / (_APART * service)), _ALONE, options.seed)]
        alone = median(slow)
        loads = [
            measure(url, utilisation, service, alone, requests, options.seed)
            for utilisation, requests in track(list(zip(options.utilisation, options.requests, strict=True)))
        ]
    result = {
        "machine": machine(),
        "service_seconds": service,
        "seed": options.seed,
        "alone_seconds": {"median": alone, "mean": fmean(slow)},
        "loads": loads,
    }
    write_text_atomically(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

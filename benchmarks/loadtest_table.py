"""Tables of what `diffes loadtest` found, of contenders and of fates, and of what open_loop.py did."""

from collections.abc import Sequence
from typing import Any

from tables import MISSING, markdown, versions_of

from loadtest.report.sections import best_run
from loadtest.result import ContenderResult, Result
from loadtest.rows import FATES, UNKNOWN

_MACHINE = ("device", "cores")
_VERSIONS = ("python", "diffusers", "torch", "onnxruntime-gpu", "bentoml", "locust")


def contenders_table(result: Result) -> str:
    """One row a contender, at the highest rate at which the SLO held twice."""
    first = result.contenders[0]
    heads = ["contender", "requests/s", f"times {first.name}", "p50, s", "p95, s", "p99, s", "images/s", "memory, MiB"]
    on_gpu = any(run.findings.memory and run.findings.memory.device for each in result.contenders for run in each.runs)
    heads += ["GPU, MiB"] if on_gpu else []
    heads += [f"FD to {first.name} (images)"]
    rows = [_row(each, first, on_gpu=on_gpu) for each in result.contenders]
    slo, asked = result.asked.slo, result.asked
    many = " / ".join(f"{sum(run.findings.requests for run in each.runs):,}" for each in result.contenders)
    conditions = (
        f"{_machine_of(result)} `diffes loadtest {result.scenario}`: {slo.share:.0%} of requests answered within"
        f" {result.slo:.3g} s of when they were due, {_steps(asked.mix.steps)}; runs of {_length(result)};"
        f" {many} requests in all."
    )
    return f"{markdown(heads, rows)}\n\n{conditions}"


def fates_table(results: Sequence[Result]) -> str:
    """One row a scenario: what became of every request, images beside their references, memory, faults."""
    heads = [
        "scenario",
        "seconds",
        "requests",
        *FATES,
        UNKNOWN,
        "images checked",
        "wrong",
        "MiB",
        "MiB an hour",
        "faults",
    ]
    rows = [_fates(result) for result in results]
    machines = " / ".join(dict.fromkeys(map(_machine_of, results)))
    return f"{markdown(heads, rows)}\n\n{machines} Images are compared with those of {_makers(results)}."


def open_loop_table(found: dict[str, Any]) -> str:
    """One row a utilisation: mean waits as measured, by Lindley's recursion and by theory."""
    heads = ["utilisation", "requests", "mean wait, ms", "times Lindley's", "times M/D/1's", "sent late, p99, ms"]
    rows = [
        [
            f"{each['utilisation']:g}",
            f"{each['requests']:,}",
            f"{1e3 * each['wait_seconds']:.2f} ({'–'.join(f'{1e3 * end:.2f}' for end in each['interval'])})",
            f"{each['measured_by_lindley']:.3f}",
            f"{each['measured_by_theory']:.3f}",
            f"{1e3 * each['late_seconds']['p99']:.1f}",
        ]
        for each in found["loads"]
    ]
    machine, versions = found["machine"], versions_of(found["machine"])
    conditions = (
        f"{machine['cpus']} cores, {versions}; a service of {1e3 * found['service_seconds']:g} ms, one at a time. Waits"
        f" are latency less the {1e3 * found['alone_seconds']['median']:.2f} ms that a request takes alone; in brackets"
        " 95 % intervals by batch means. Lindley's recursion gives the wait for the very times when requests were due."
    )
    return f"{markdown(heads, rows)}\n\n{conditions}"


def _fates(result: Result) -> list[str]:
    (contender,) = result.contenders
    (run,) = contender.runs
    found, images, memory = run.findings, contender.images, run.findings.memory
    return [
        result.scenario,
        f"{found.seconds:.0f}",
        f"{found.requests:,}",
        *(f"{found.fates[fate]:,}" for fate in (*FATES, UNKNOWN)),
        *([f"{images.images:,}", f"{len(images.wrong):,}"] if images else [MISSING] * 2),
        f"{memory.first / 2**20:,.0f} → {memory.last / 2**20:,.0f}" if memory else MISSING,
        f"{memory.hourly / 2**20:.1f}" if memory and memory.hourly is not None else MISSING,
        f"{len(run.happened)}",
    ]


def _makers(results: Sequence[Result]) -> str:
    makers = dict.fromkeys(each.images.maker for result in results for each in result.contenders if each.images)
    return " / ".join(makers) or "nobody"


def _machine_of(result: Result) -> str:
    machine = ", ".join(f"{name} {result.machine[name]}" for name in _MACHINE)
    versions = ", ".join(f"{name} {result.machine[name]}" for name in _VERSIONS if name in result.machine)
    return f"{machine}; {versions}."


def _row(contender: ContenderResult, first: ContenderResult, *, on_gpu: bool) -> list[str]:
    found = best_run(contender).findings
    rate, of_first = (each.sustained.rate if each.sustained else None for each in (contender, first))
    times = MISSING if rate is None or of_first is None else f"{rate / of_first:.2f}"
    latency = [found.latency.p50, found.latency.p95, found.latency.p99] if found.latency else []
    memory = [found.memory.most, found.memory.device][: 1 + on_gpu] if found.memory else [None] * (1 + on_gpu)
    like = contender.likeness
    return [
        contender.name,
        "none" if rate is None else f"{rate:.3g}",
        times,
        *([f"{seconds:.3g}" for seconds in latency] or [MISSING] * 3),
        f"{found.images:.3g}",
        *(MISSING if each is None else f"{each / 2**20:,.0f}" for each in memory),
        MISSING if like is None or like.frechet is None else f"{like.frechet:.2f} ({like.images:,})",
    ]


def _steps(steps: Any) -> str:
    return ", ".join(f"{name} steps" if name != "default" else "the schedule's steps" for name in steps)


def _length(result: Result) -> str:
    told = [f"{result.asked.requests} requests"] if result.asked.requests else []
    told += [f"{result.asked.seconds:g} s"] if result.asked.seconds else []
    return " or ".join(told)

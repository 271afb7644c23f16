"""Measure a latency table: time whole plans, take them apart into halves, and check on plans that were not fitted."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

import torch

import diffes
from diffes.devices import hardware_name
from diffes.latency.fit import fit, groups_of, plans_to_time, random_plans
from diffes.latency.stand import Stand, Subject
from diffes.latency.table import CheckedPlan, LatencyTable, Provenance
from diffes.latency.timing import Clock, measure
from diffes.schedule import StagePlan

OpenStand = Callable[[Sequence[StagePlan]], AbstractContextManager[Stand]]
Progress = Callable[[str, float], None]  # what is being done, and the share done


@dataclass(frozen=True)
class Setup:
    """Under what a table holds: backend, torch's name of the device, rows of a step, dtype, CPU threads."""

    backend: str
    device: str
    batch: int
    dtype: str
    threads: int | None = None


def measure_table(
    subject: Subject,
    setup: Setup,
    open_stand: OpenStand,
    clock: Clock,
    *,
    seconds: float,
    checks: int = 8,
    seed: int = 0,
    progress: Progress = lambda _phase, _share: None,
) -> LatencyTable:
    """The table of `subject` under `setup`, from about `seconds` of timing on the stand that is opened.

    `checks` random whole plans, timed in the same rounds but left out of the fit, show how well it predicts.
    """
    dense, groups = subject.architecture.dense, groups_of(subject.architecture)
    fitted_plans = plans_to_time(dense, groups)
    checked_plans = random_plans(groups, checks, seed)
    plans = [*fitted_plans, *checked_plans]
    with open_stand(plans) as stand:
        runs = [stand.step(plan) for plan in plans]
        seen = measure(runs, clock, seconds=seconds, seed=seed, progress=lambda share: progress("timing", share))
    fitted = fit(fitted_plans, seen.seconds[: len(fitted_plans)], groups)
    table = LatencyTable(
        model=subject.identity,
        backend=setup.backend,
        device=hardware_name(setup.device),
        batch=setup.batch,
        dtype=setup.dtype,
        rest=fitted.rest,
        costs=fitted.costs,
        provenance=Provenance(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=_versions(),
            threads=setup.threads or torch.get_num_threads(),
            rounds=seen.rounds,
            fitted=len(fitted_plans),
            spread=float(seen.spread.max()),
            fit_error=0,
            check_error=0,
        ),
    )
    return _checked(table, plans, seen.seconds.tolist(), len(fitted_plans))


def _checked(table: LatencyTable, plans: Sequence[StagePlan], seconds: Sequence[float], fitted: int) -> LatencyTable:
    """The table with its own errors in it; the plans after the first `fitted` are its checks."""
    compared = [
        CheckedPlan(plan=plan, measured=round(took * 1e9), predicted=table.latency(plan))
        for plan, took in zip(plans, seconds, strict=True)
    ]
    errors = [abs(plan.error) for plan in compared]
    provenance = table.provenance.model_copy(
        update={"fit_error": max(errors[:fitted]), "check_error": max(errors[fitted:], default=0.0)}
    )
    return table.model_copy(update={"checks": tuple(compared[fitted:]), "provenance": provenance})


def _versions() -> dict[str, str]:
    import onnxruntime

    found = {"diffes": diffes.__version__, "torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return found if torch.version.cuda is None else {**found, "cuda": torch.version.cuda}

"""What a budget may count: MACs, measured nanoseconds, or bytes of weights that a step reads."""

from dataclasses import dataclass
from typing import Protocol

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.precision import dtype_of
from diffes.pruning.cost import plan_macs, plan_weight_bytes
from diffes.pruning.mode import Compensation
from diffes.schedule import StagePlan
from search.budget import PlanCost
from search.options import SearchOptions


class PlanLatency(Protocol):
    """A latency table: nanoseconds of one step of a stage plan, a sum over its blocks' halves and a rest."""

    def latency(self, plan: StagePlan) -> int: ...


@dataclass(frozen=True)
class Cost:
    """An additive integer cost of a stage plan's step, and the name of its unit."""

    of: PlanCost
    unit: str


def cost_of(checkpoint: Checkpoint, options: SearchOptions, latency: PlanLatency | None) -> Cost:
    """The cost that the options put a budget on; SearchError for a latency budget without a table."""
    architecture, compensation = checkpoint.architecture, Compensation.parse(options.compensation)
    if options.cost == "macs":
        return Cost(lambda plan: plan_macs(architecture, plan, compensation), "MACs")
    if options.cost == "weights":
        item = dtype_of(options.dtype).itemsize
        return Cost(lambda plan: plan_weight_bytes(architecture, plan, compensation, item), "weight bytes")
    if latency is None:
        raise SearchError(
            "a latency budget needs measured latencies",
            expected="a latency table of this model on the machine that will serve it",
            found="none",
            remedy="Measure one and give it as --latency-table.",
        )
    return Cost(latency.latency, "latency")

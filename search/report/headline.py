"""What was found, in one sentence with figures between the words."""

from diffes.pages.tables import Cell, number, share
from search.options import SearchOptions
from search.report.documents import Log
from search.report.record import Answer, Front, Record

Parts = list[str | Cell]

_COSTS = {"macs": "MACs", "latency": "measured latency", "weights": "weight bytes read"}


def cost_name(options: SearchOptions) -> str:
    """What the budget is on, in words."""
    return _COSTS[options.cost]


def headline(record: Record) -> Parts:
    """The result in one sentence, or how far an interrupted search came."""
    if record.found is None:
        return [_open(record)]
    if isinstance(record.found, Answer):
        return _of_schedule(record.found.log, record.options)
    return _of_front(record.found, record.options)


def _open(record: Record) -> str:
    done, options = max(len(record.state.generations) - 1, 0), record.options
    table = f", {len(record.state.table)} table entries" if options.method == "evolution" else ""
    said = f"{done} of {options.rounds} generations are done{table}."
    return f"This search is not finished: {said} Go on with it by `diffes search --resume`."


def _of_schedule(log: Log, options: SearchOptions) -> Parts:
    ours, uniform = log.winner.held_out, log.uniform.held_out
    parts: Parts = [
        *(share(log.budget.achieved), f" of the {cost_name(options)} removed; on noise the search never saw, "),
        *(f"{options.objective} to the dense model is ", number(ours)),
    ]
    if ours is not None and uniform:
        parts += [": ", number(ours / uniform), " × the uniform schedule's ", number(uniform)]
    else:
        parts.append("; the uniform schedule gave no finite samples")
    return [*parts, *_beside_knapsack(log), "."]


def _beside_knapsack(log: Log) -> Parts:
    if log.knapsack is None:
        return [f". The method {log.options.method} measures no error table, so there is no knapsack beside it"]
    ours, knapsack = log.winner.held_out, log.knapsack.held_out
    if log.chosen == log.knapsack.genome:
        return [". It is the knapsack's own answer to the error table: none of the finalists did better on that noise"]
    if knapsack is None:
        return [". The knapsack's own answer was not among the finalists, so it has no held-out figure"]
    if ours is None or knapsack == 0:
        return [", and the knapsack's ", number(knapsack)]
    return [", and ", number(ours / knapsack), " × that of the knapsack alone, ", number(knapsack)]


def _of_front(front: Front, options: SearchOptions) -> Parts:
    points = front.pareto.points
    parts: Parts = [
        *(f"{len(points)} schedules from ", share(points[0].removed), " to ", share(points[-1].removed)),
        f" of the {cost_name(options)} removed; on noise the search never saw, {options.objective} to the dense model",
    ]
    ratios = front.log.over_uniform
    if not ratios:
        return [*parts, " has nothing to compare with: no uniform schedule gave finite samples."]
    parts.append(" is, times that of the uniform schedule that removes as much: ")
    for place, each in enumerate(ratios):
        parts += [", " if place else "", number(each.ratio), " at ", share(each.removed)]
    return [*parts, "."]

"""Writes the tables of docs/quality.md and README.md from results on disk; the prose around them stays.

    python benchmarks/quality_table.py            # --check: only say whether the tables are what the results give

Reads what `search_methods.py` left, in one folder under its objective, in another under mse, and what
`schedule_quality.py` left beside them. What was not measured is shown as –. A table stands between
`<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from schedule_tables import guidance_table, moments_table, texts_table
from search_results import BUDGETS, METHODS, MODES, OBJECTIVE, RUNS, SEEDS, Results, Run, seeds_of
from tables import MISSING, markdown, write_tables

MODES_BUDGET = 0.4997
_MEASURES = {
    "frechet_distance": ("FD to dense", "{:.3f}"),
    "frechet_to_data": ("FD to data", "{:.2f}"),
    "class_accuracy": ("class accuracy", "{:.4f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "mse": ("MSE", "{:.5f}"),
}
_SUMMARY = {
    "uniform": "uniform",
    "mosaic": "three stages after MosaicDiff",
    "diff-es": "Diff-ES as published",
    "ours": "**Diffes**, a level for every block",
}

Value = Callable[[Run], float | None]


@dataclass(frozen=True)
class Study:
    """All results of one folder that can be compared: of the largest N, one objective and one calibration."""

    results: dict[Run, dict[str, Any]]
    images: int | None

    @classmethod
    def of(cls, results: Iterable[tuple[Run, dict[str, Any]]]) -> "Study":
        """Results of one kind; evaluations of fewer images than the most are left out, and that is said."""
        found = dict(results)
        for what in ("objective", "probes", "steps", "guidance"):
            seen = {result["options"][what] for result in found.values()}
            if len(seen) > 1:
                raise SystemExit(f"results cannot be compared: {what} is {' and '.join(map(str, sorted(seen)))}")
        full = [result for result in found.values() if result["options"]["compensation"] == "full"]
        orderings = {result["schedule"]["provenance"]["ordering"] for result in full}
        if len(orderings) > 1:
            _say(f"{len(orderings)} calibrations: methods are compared only within one")
        images = max((r["evaluation"]["n"] for r in found.values() if r["evaluation"]), default=None)
        return cls(found, images)

    def measure(self, run: Run, name: str) -> float | None:
        """A measure of a run's images, None if it was not taken over the study's N images."""
        evaluation = self.results.get(run, {}).get("evaluation")
        if not evaluation or evaluation["n"] != self.images:
            return None
        value: float = evaluation[name]
        return value

    def to_uniform(self, run: Run) -> float | None:
        """Fréchet distance over that of the uniform schedule of the same budget and calibration."""
        reference = Run("uniform", run.budget, seeds_of("uniform")[0])
        ours, uniform = (self.measure(each, "frechet_distance") for each in (run, reference))
        return None if ours is None or not uniform or not self._alike(run, reference) else ours / uniform

    def evaluations_to(self, run: Run, objective: float) -> float | None:
        """Evaluations after the first generation whose best is no worse than `objective`, None if there is none."""
        trace = self.results[run]["trace"] if run in self.results else []
        reached = (g["evaluations"] for g in trace if g["best"] is not None and g["best"] <= objective)
        return next(reached, None)

    def share_of_diff_es(self, run: Run, spent: Value) -> float | None:
        """Evaluations a run took to the objective Diff-ES ended with, over what Diff-ES `spent`.

        None where either is missing or was calibrated otherwise, inf if the run never got there.
        """
        theirs = Run("diff-es", run.budget, run.seed)
        if run not in self.results or theirs not in self.results or not self._alike(run, theirs):
            return None
        ours, all_of_them = self.evaluations_to(run, self.results[theirs]["best"]), spent(theirs)
        if all_of_them is None:
            return None
        return float("inf") if ours is None else ours / all_of_them

    def spent(self, run: Run) -> float | None:
        """Evaluations of a run's whole search, up to its last generation."""
        return self.results[run]["trace"][-1]["evaluations"] if run in self.results else None

    def spent_to_best(self, run: Run) -> float | None:
        """Evaluations a run took to the best objective it found."""
        best = self.results.get(run, {}).get("best")
        return None if best is None else self.evaluations_to(run, best)

    def _alike(self, run: Run, other: Run) -> bool:
        one, two = (self.results[each]["schedule"]["provenance"]["ordering"] for each in (run, other))
        return bool(one == two)


def distance_table(study: Study) -> str:
    """Ratio of the Fréchet distance to uniform's, per method and budget."""
    budgets = sorted(BUDGETS)
    rows = [[m, *(_spread(_over_seeds(study.to_uniform, m, b), "{:.2f}") for b in budgets)] for m in METHODS]
    return markdown(["method", *(f"{budget:.1%}" for budget in budgets)], rows)


def absolute_table(study: Study) -> str:
    """Every measure, mean over the seeds there are, per budget and method; the dense model first."""
    heads = ["MACs asked", "method", "MACs removed", *(head for head, _ in _MEASURES.values()), "seeds"]
    rows = [_dense_row(study)]
    for budget in sorted(BUDGETS):
        for method in METHODS:
            runs = _measured(study, method, budget)
            removed = _told(study, runs, "macs_removed", "{:.2%}")
            rows.append([f"{budget:.1%}", method, removed, *_measures(study, runs), str(len(runs) or MISSING)])
    return markdown(heads, rows)


def summary_table(study: Study) -> str:
    """Few methods: distance to dense for every budget, every measure for 50 %."""
    budgets = sorted(BUDGETS)
    at = f" at {MODES_BUDGET:.1%}"
    heads = ["schedule", *(f"FD at {budget:.1%}" for budget in budgets)]
    rows = []
    for method, name in _SUMMARY.items():
        distances = (_measured(study, method, budget) for budget in budgets)
        told = [_mean([study.measure(run, "frechet_distance") for run in runs], "{:.2f}") for runs in distances]
        rows.append([name, *told, *_measures(study, _measured(study, method, MODES_BUDGET))[1:]])
    return markdown([*heads, *(head + at for head, _ in list(_MEASURES.values())[1:])], rows)


def _measured(study: Study, method: str, budget: float) -> list[Run]:
    """A method's runs whose images were judged."""
    runs = (Run(method, budget, seed) for seed in SEEDS)
    return [run for run in runs if study.measure(run, "mse") is not None]


def _measures(study: Study, runs: Sequence[Run]) -> list[str]:
    return [_mean([study.measure(run, name) for run in runs], form) for name, (_, form) in _MEASURES.items()]


def _told(study: Study, runs: Sequence[Run], name: str, form: str) -> str:
    """Mean of what the results say themselves."""
    return _mean([study.results[run][name] for run in runs], form)


def _dense_row(study: Study) -> list[str]:
    measured = [run for run in study.results if study.measure(run, "mse") is not None]
    to_data = _mean([study.measure(run, "reference_frechet_to_data") for run in measured[:1]], "{:.2f}")
    accuracy = _mean([study.measure(run, "reference_class_accuracy") for run in measured[:1]], "{:.4f}")
    return ["0", "dense", "0", "0", to_data, accuracy, "1", "0", MISSING]


def evaluations_table(study: Study) -> str:
    """What Diff-ES spent, in all and to its best objective, and what shares of that others took to the same."""
    others = [method for method in METHODS if method.startswith("ours") or method == "random"]
    rows = []
    for budget in sorted(BUDGETS):
        final = _over_seeds(lambda run: study.results.get(run, {}).get("best"), "diff-es", budget)
        for what, spent in (("its whole search", study.spent), ("to its best", study.spent_to_best)):
            share = partial(study.share_of_diff_es, spent=spent)
            shares = [_spread(_over_seeds(share, method, budget), "{:.3f}") for method in others]
            theirs = _mean(_over_seeds(spent, "diff-es", budget), "{:,.0f}")
            rows.append([f"{budget:.1%}", _mean(final, "{:.3g}"), what, theirs, *shares])
    return markdown(["MACs", "Diff-ES's objective", "Diff-ES's evaluations", "count", *others], rows)


def compensation_table(study: Study) -> str:
    """Memory against quality of compensation modes, each searched for by itself."""
    heads = ["compensation", "MACs removed", "weights, of dense", *(head for head, _ in _MEASURES.values())]
    heads += ["of full's gain lost", "seeds"]
    rows = []
    for method in (*MODES, "ours"):
        runs = _measured(study, method, MODES_BUDGET)
        removed = _told(study, runs, "macs_removed", "{:.2%}")
        stored = _told(study, runs, "weights_of_dense", "{:.3f} x")
        lost = _share_lost(study, method)
        told = [removed, stored, *_measures(study, runs), MISSING if lost is None else f"{lost:.1%}"]
        rows.append([_mode_name(method), *told, str(len(runs) or MISSING)])
    return markdown(heads, rows)


def _share_lost(study: Study, method: str) -> float | None:
    """What a mode loses of full compensation's gain over none, in Fréchet distances averaged over seeds."""
    measure = partial(study.measure, name="frechet_distance")
    found = [_over_seeds(measure, each, MODES_BUDGET) for each in (method, "none", "ours")]
    if not all(found):
        return None
    own, none, full = (sum(distances) / len(distances) for distances in found)
    return (own - full) / (none - full)


def _mode_name(method: str) -> str:
    own = RUNS[method]
    limit = f", within {own['memory']:g} x" if "memory" in own else ""
    return f"{own.get('compensation', 'full')}{limit}"


def objective_table(study: Study, by_mse: Study) -> str:
    """Fréchet distance to dense of what a search finds under one objective or another."""
    rows = []
    for budget in sorted(BUDGETS):
        for method in ("ours", "diff-es"):
            found = [
                _spread(_over_seeds(partial(each.measure, name="frechet_distance"), method, budget), "{:.2f}")
                for each in (by_mse, study)
            ]
            rows.append([f"{budget:.1%}", method, *found])
    return markdown(["MACs", "method", "searched by mse", f"searched by {OBJECTIVE}"], rows)


def conditions(*studies: Study) -> str:
    """How all this was measured: N, machines, versions; the commands are in the results."""
    results = [result for study in studies for result in study.results.values()]
    machines = [result["machine"] for result in results]
    machines += [result["evaluation"]["machine"] for result in results if result["evaluation"]]
    images = studies[0].images
    lines = [f"N = {images:,} images." if images else "Nothing was sampled yet."]
    seen = Counter(f"{m['device']}, torch {m['torch']}, {_precision(m['tf32'])}" for m in machines)
    counted = (f"- {line}: {count} searches and evaluations" for line, count in sorted(seen.items()))
    return "\n".join([*lines, "", *counted]).rstrip()


def _precision(tf32: bool) -> str:
    return "TF32" if tf32 else "float32"


def _over_seeds(value: Value, method: str, budget: float) -> list[float]:
    found = (value(Run(method, budget, seed)) for seed in SEEDS)
    return [each for each in found if each is not None]


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(sum(known) / len(known)) if known else MISSING


def _spread(values: Sequence[float], form: str) -> str:
    """Mean, least and most, and of how many; a run that never got there is said, not averaged."""
    reached = [value for value in values if value != float("inf")]
    if not values:
        return MISSING
    never = f"; {len(values) - len(reached)} of {len(values)} never" if len(reached) < len(values) else ""
    if not reached:
        return "never"
    mean = form.format(sum(reached) / len(reached))
    if len(reached) == 1:
        return f"{mean} (1 seed{never})"
    return f"{mean} ({form.format(min(reached))}–{form.format(max(reached))}, {len(reached)} seeds{never})"


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/search_methods"))
    parser.add_argument("--by-mse", type=Path, default=Path("benchmarks/results/search_methods_mse"))
    parser.add_argument("--schedules", type=Path, default=Path("benchmarks/results"), help="of schedule_quality.py")
    parser.add_argument("--document", type=Path, default=Path("docs/quality.md"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    study, by_mse = (Study.of(Results(folder).all()) for folder in (options.results, options.by_mse))
    tables = {
        "distance": distance_table(study),
        "distance-mse": distance_table(by_mse),
        "absolute": absolute_table(study),
        "evaluations": evaluations_table(study),
        "compensation": compensation_table(study),
        "objective": objective_table(study, by_mse),
        "moments": moments_table(options.schedules),
        "guidance": guidance_table(options.schedules),
        "texts": texts_table(options.schedules),
        "conditions": conditions(study, by_mse),
    }
    write_tables(options.document, tables, check=options.check)
    write_tables(options.readme, {"summary": summary_table(study)}, check=options.check)


if __name__ == "__main__":
    main()

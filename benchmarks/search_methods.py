"""Search methods against one another: methods x budgets x seeds, one JSON file each, continued where it stopped.

    python benchmarks/search_methods.py --device cuda --tf32 --evaluate 10000 --time-limit 560 \
        --out benchmarks/results/search_methods

All runs share one calibration, compensation, probes by seed, and held-out probes; evaluations are counted alike
(search/evaluations.py). `--evaluate N` also samples N images of every schedule and of the dense model, from the same
noise. What is in OUT is not done again; an unfinished search goes on from its folder in WORK. Before each piece of
work the time left is compared with what such a piece took before; what does not fit is left for the next time.

Several processes may share OUT and WORK if none is given another's runs. Side by side on one GPU (`--only search`) they
fill what a search leaves idle while it screens on few probes.

`--set NAME=VALUE` gives every search another option (search/options.py), VALUE as JSON.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console
from search_quality import Judge
from search_results import BUDGETS, METHODS, RUNS, SEEDS, Results, Run, machine_of, result_of, runs_of

from diffes.bundled import bundled_features, bundled_model
from diffes.checkpoint import Checkpoint
from diffes.errors import DiffesError, SearchError
from diffes.precision import full_float32, tf32
from search.job import run_search

_MARGIN = 1.2  # of what a piece took before: machines are not equally busy


class Timer:
    """Whether a piece of work still fits, judged by the longest such piece so far, here or on an equal machine."""

    def __init__(self, limit: float | None, device: str, results: Results) -> None:
        self._end = None if limit is None else time.monotonic() + limit
        self._longest: dict[tuple[str, str], float] = {}
        for run, result in results.all():
            if result["machine"]["device"] == device:
                self.note("search", run, sum(result["seconds"].values()))
            found = result["evaluation"]
            if found and found["machine"]["device"] == device:
                self.note("evaluate", run, found["seconds"])

    def note(self, kind: str, run: Run, seconds: float) -> None:
        """Remember how long a piece took."""
        key = kind, run.method
        self._longest[key] = max(self._longest.get(key, 0.0), seconds)

    def fits(self, kind: str, run: Run) -> bool:
        """Whether there is time for a piece; one of a kind never seen is only asked for some time at all."""
        if self._end is None:
            return True
        alike = [seconds for (of, _), seconds in self._longest.items() if of == kind]
        known = self._longest.get((kind, run.method), max(alike, default=0.0))
        return time.monotonic() + _MARGIN * known < self._end


class Bench:
    """The runs, what is known of them, and what it takes to do one."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.console = Console(stderr=True)
        self.results = Results(options.out)
        self.checkpoint = Checkpoint.open(options.model)
        command = shlex.join(["python", "benchmarks/search_methods.py", *sys.argv[1:]])
        self.machine = machine_of(options.device, command, tf32=options.tf32)
        self.timer = Timer(options.time_limit, self.machine["device"], self.results)
        self.judge: Judge | None = None
        self.common = {"device": options.device, "batch": 256, **dict(options.set)}

    def pieces(self) -> Iterator[tuple[str, Run]]:
        """What is left to do, the most important first."""
        for run in runs_of(self.options.method, self.options.budget, self.options.seed):
            result = self.results.load(run, run.options(self.common))
            if result is None and self.options.only != "evaluate":
                yield "search", run
            if self._wants_evaluation(result):
                yield "evaluate", run

    def do(self, kind: str, run: Run) -> None:
        """One piece of work; its result is on disk afterwards."""
        began = time.perf_counter()
        if kind == "search":
            self._search(run)
        else:
            self._evaluate(run, began)
        self.timer.note(kind, run, time.perf_counter() - began)

    def _wants_evaluation(self, result: dict[str, Any] | None) -> bool:
        if not self.options.evaluate or self.options.only == "search":
            return False
        if result is None:
            return self.options.only is None  # it will have been searched by then
        done = (result["evaluation"] or {}).get("n") == self.options.evaluate
        return not done

    def _search(self, run: Run) -> None:
        folder = self.options.work / run.name
        with self._precision():
            run_search(self.checkpoint, run.options(self.common), folder, resume=folder.exists(), console=self.console)
        self.results.save(run, result_of(run, folder, self.machine, self.checkpoint))
        shutil.rmtree(folder)  # the calibration in it is as large as the model; the log and schedule are kept

    def _evaluate(self, run: Run, began: float) -> None:
        options, result = self.options, self.results.load(run)
        if result is None:
            raise SearchError("nothing to evaluate", expected="a finished search", found="one that failed")
        if self.judge is None:
            self.judge = Judge(self.checkpoint, options.features, options.device, options.evaluate, options.batch)
        with self._precision():
            found = self.judge(run.options(self.common), result["schedule"])
        seconds = time.perf_counter() - began
        result["evaluation"] = {**found.to_json(), "seconds": seconds, "machine": self.machine}
        self.results.save(run, result)
        self.console.print(
            f"{run.name}: Fréchet distance {found.frechet_distance:.4f}, to the data {found.frechet_to_data:.3f}"
            f" (dense {found.reference_frechet_to_data:.3f}), {seconds:.1f} s",
            highlight=False,
        )

    def _precision(self) -> AbstractContextManager[None]:
        return tf32() if self.options.tf32 else full_float32()


def main() -> None:
    """Do what fits, say what remains; exit 0 unless a piece failed, which stops no other."""
    options = _options()
    os.environ["DIFFES_CACHE"] = str(options.work)  # one calibration for all runs
    try:
        bench = Bench(options)
        left = list(bench.pieces())
    except DiffesError as error:
        sys.exit(str(error))
    total, failed = len(left), list[str]()
    while left and bench.timer.fits(*left[0]):
        kind, run = left.pop(0)
        bench.console.print(f"[{total - len(left)}/{total}] {kind} {run.name}", markup=False, highlight=False)
        try:
            bench.do(kind, run)
        except DiffesError as error:
            failed.append(f"{kind} {run.name} failed: {error}")
            bench.console.print(failed[-1], markup=False, highlight=False)
    names = ", ".join(f"{kind} {run.name}" for kind, run in left[:5])
    print(f"{len(left)} pieces remain, first {names}" if left else "nothing remains")  # noqa: T201
    if failed:
        sys.exit("\n".join(failed))


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"expected NAME=JSON, found {text}") from error


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=bundled_model())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/search_methods"))
    parser.add_argument("--work", type=Path, default=None, help="unfinished searches, calibration; default OUT/work")
    parser.add_argument("--method", choices=list(RUNS), nargs="+", default=list(METHODS))
    parser.add_argument("--budget", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--seed", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--evaluate", type=int, default=0, metavar="N", help="images of each side; 0: none")
    parser.add_argument(
        "--only", choices=["search", "evaluate"], default=None, help="evaluate: what is searched already"
    )
    parser.add_argument("--features", type=Path, default=bundled_features())
    parser.add_argument("--batch", type=int, default=1000, help="images at once in the evaluation")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--time-limit", type=float, default=None, help="seconds")
    options = parser.parse_args()
    options.work = options.work or options.out / "work"
    return options


if __name__ == "__main__":
    main()

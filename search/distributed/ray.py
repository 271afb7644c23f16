"""`--ray ADDRESS`: a search on a Ray cluster, one actor a device. The only place that knows Ray."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from diffes.errors import SearchError
from search.costs import PlanLatency
from search.distributed.arithmetic import arithmetic
from search.distributed.local import scratch_folder
from search.distributed.messages import Answer, Assignment, Lost, Raised, Ready, Reply, Task
from search.distributed.pool import Pool
from search.distributed.pooled import PooledEvaluators, assignment
from search.distributed.worker import Worker, answered, started
from search.options import SearchOptions
from search.problem import Problem

_INSTALL = "pip install 'diffes[ray]'"
_START = {
    "include_dashboard": False,
    "logging_level": "WARNING",
    "log_to_driver": False,
}


@dataclass(frozen=True)
class RayWorkers:
    """An actor on every device of a cluster, or on `count` of them.

    `address` is a cluster's, `auto` for the one that runs on this machine, `local` to start one for this search. In a
    process that is connected already, that connection is taken.
    """

    address: str
    count: int | None = None

    def fitted(self, options: SearchOptions) -> SearchOptions:
        """On a CPU an actor takes one thread unless told otherwise, so that no result depends on a cluster's size.

        SearchError without Ray, and for a device that Ray does not hand out.
        """
        _ray()
        if options.device not in ("cpu", "cuda"):
            raise SearchError(
                "Ray chooses the devices", expected="cpu or cuda", found=options.device, remedy="Give --device cuda."
            )
        if options.device != "cpu" or options.threads is not None:
            return options
        return options.model_copy(update={"threads": 1})

    def intention(self, options: SearchOptions) -> str:
        """Who works where."""
        each = f"--threads {options.threads}" if options.device == "cpu" else "a GPU"
        return f"workers: on Ray ({self.address}), {each} each; every one loads the model"

    @contextmanager
    def open(
        self, problem: Problem, latency: PlanLatency | None, calibration: Path, scratch: Path
    ) -> Iterator[PooledEvaluators]:
        """Actors that live as long as the context; SearchError if there is no such cluster, or none of its devices."""
        ray = _ray()
        with ExitStack() as stack:
            stack.enter_context(scratch_folder(scratch))
            stack.enter_context(_connected(ray, self.address))
            needs = _needs(problem.options)
            size = places(ray.nodes(), needs, self.count)

            def hire(stack: ExitStack) -> Pool:
                given = assignment(problem, latency, calibration, problem.options.device)
                crew = RayCrew(ray, given, scratch, size, needs)
                stack.callback(crew.close)
                return Pool(crew, f"{arithmetic(given.options.device)}, {_blas_threads()} BLAS threads")

            yield PooledEvaluators(hire, scratch, stack)


class RayCrew:
    """`size` actors. Files reach them through Ray's object store: only the checkpoint must lie on their disks."""

    def __init__(self, ray: Any, given: Assignment, teachers: Path, size: int, needs: Mapping[str, float]) -> None:
        self.size = size
        self._ray = ray
        self._given = given
        self._teachers = teachers
        resources = {"num_cpus": needs.get("CPU", 0), "num_gpus": needs.get("GPU", 0)}
        self._actor = ray.remote(**resources, max_restarts=0)(Actor)
        self._calibration = ray.put(np.fromfile(given.calibration, np.uint8))
        self._known: dict[str, Any] = {}
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}

    def start(self, worker: int) -> None:
        """Ask Ray for an actor, on a device that is free or the next that will be."""
        actor = self._actors[worker] = self._actor.remote()
        # in a list, a reference stays one until the actor asks for it
        self._pending[actor.start.remote(self._given, [self._calibration], _blas_threads())] = worker

    def ask(self, worker: int, task: Task) -> None:
        """Send a task and where its teacher can be had."""
        if task.teacher not in self._known:
            self._known[task.teacher] = self._ray.put(np.fromfile(self._teachers / task.teacher, np.uint8))
        self._pending[self._actors[worker].answer.remote(task, [self._known[task.teacher]])] = worker

    def wait(self, *, block: bool) -> list[tuple[int, Reply]]:
        """Replies that have come."""
        if not self._pending:
            return []
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=None if block else 0)
        return [(self._pending.pop(reference), self._receive(reference)) for reference in done]

    def close(self) -> None:
        """End every actor now."""
        for actor in self._actors.values():
            self._ray.kill(actor)

    def _receive(self, reference: Any) -> Reply:
        try:
            reply: Reply = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [""]
            return Lost(f"({type(error).__name__}: {' '.join(line.strip() for line in lines[:6])})")
        return reply


class Actor:
    """A worker in an actor."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def start(self, given: Assignment, calibration: list[Any], blas_threads: int) -> Ready | Raised:
        """Build the worker; numpy's linear algebra gets as many threads as in the search, which Ray set to others."""
        from threadpoolctl import threadpool_limits

        threadpool_limits(blas_threads, user_api="blas")
        with _as_file(calibration) as path:
            self._worker, reply = started(replace(given, calibration=path))
        if isinstance(reply, Raised):
            return reply
        return Ready(f"{reply.arithmetic}, {_blas_threads()} BLAS threads")

    def answer(self, task: Task, teacher: list[Any]) -> Answer | Raised:
        """A task's values."""
        assert self._worker is not None
        with ExitStack() as stack:
            return answered(self._worker, task, lambda _: stack.enter_context(_as_file(teacher)))


def places(nodes: list[dict[str, Any]], needs: Mapping[str, float], asked: int | None) -> int:
    """How many actors fit the living nodes of a cluster, at most those asked for; SearchError if they do not fit."""
    living = [node["Resources"] for node in nodes if node["Alive"]]
    found = sum(min(int(node.get(name, 0) // amount) for name, amount in needs.items()) for node in living)
    if found < (asked or 1):
        wanted = " and ".join(f"{amount:g} {name}" for name, amount in needs.items())
        raise SearchError(
            "the Ray cluster has too few devices",
            expected=f"{asked or 1} times {wanted}",
            found=found,
            remedy="Add nodes, ask for fewer workers, or on a CPU for fewer --threads.",
        )
    return asked or found


def _needs(options: SearchOptions) -> dict[str, float]:
    return {"CPU": options.threads or 1} if options.device == "cpu" else {"CPU": 1, "GPU": 1}


@contextmanager
def _as_file(reference: list[Any]) -> Iterator[Path]:
    """What lies in the object store, as a file for as long as it is read."""
    with TemporaryDirectory(prefix="diffes-") as folder:
        path = Path(folder) / "shipped.safetensors"
        _ray().get(reference[0]).tofile(path)
        yield path


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, **_START)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SearchError(
            f"cannot reach the Ray cluster {address}",
            expected="a cluster that runs, or local to start one here",
            found=str(error).strip() or type(error).__name__,
            remedy="Start one by `ray start --head`, or give --ray local.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    """Ray with its usage statistics off, which it reads when it starts a cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise SearchError(
            "Ray is not installed", expected="the package ray", found=str(error), remedy=f"Install it: {_INSTALL}"
        ) from error
    return ray


def _blas_threads() -> int:
    """Threads of numpy's linear algebra in this process."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)

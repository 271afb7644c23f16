"""What a search has found out, done and spent so far, shown while it happens and kept where a resume finds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, isfinite
from pathlib import Path
from time import monotonic

from search.clock import Clock
from search.evaluations import Evaluations
from search.evolution import Moment
from search.memo import Memo
from search.progress import Advance, Reporter
from search.state import Generation, SearchState

_SAVE_EVERY = 0.5  # seconds: a kill throws away no more than that and the genomes under way


class Logbook:
    """The state of a search in `out`, and the clock, memos and account of work that live in it."""

    def __init__(self, state: SearchState, out: Path, reporter: Reporter, dense_macs: int) -> None:
        self.state = state
        self.out = out
        self.clock = Clock(state.options.time_limit, state.seconds)
        self.evaluations = Evaluations(state.evaluations, dense_macs)
        self._reporter = reporter
        self._memos = {key: Memo(entries) for key, entries in state.memos.items()}
        self._saved = -inf

    def say(self, text: str) -> None:
        """One line."""
        self._reporter.say(text)

    @contextmanager
    def phase(self, name: str) -> Iterator[Advance]:
        """Show and time one phase; call what is yielded with the share done."""
        with self.clock.phase(name), self._reporter.phase(name) as advance:
            yield advance

    def memo(self, key: str) -> Memo:
        """The memo of that name, new if there is none."""
        return self._memos.setdefault(key, Memo())

    def save(self, *, now: bool = False) -> None:
        """Write the state, unless that was done a moment ago."""
        if now or monotonic() - self._saved > _SAVE_EVERY:
            self.state.memos = {key: memo.entries() for key, memo in self._memos.items()}
            self.state.save(self.out)
            self._saved = monotonic()

    def moment(self) -> Moment:
        """Where the evolution stood after the last generation."""
        last, state = self.state.generations[-1], self.state
        objectives = [inf if value is None else value for value in state.objectives]
        return Moment(last.number, state.population, last.schedules, objectives, state.random)

    def record(self, moment: Moment) -> None:
        """Keep a finished generation, and write it."""
        objectives, state = moment.objectives, self.state
        finite = [value for value in objectives if isfinite(value)]
        best = min(range(len(objectives)), key=objectives.__getitem__)
        generation = Generation(
            number=moment.number,
            best=objectives[best] if finite else None,
            mean=sum(finite) / len(finite) if finite else None,
            schedules=moment.seen,
            evaluations=self.evaluations.total,
            seconds=self.clock.elapsed,
            best_genome=moment.population[best],
        )
        state.generations.append(generation)
        state.population, state.random = moment.population, moment.random
        state.objectives = [value if isfinite(value) else None for value in objectives]
        self.save(now=True)

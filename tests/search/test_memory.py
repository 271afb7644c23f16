"""What a search may store: counted as an export stores it, and kept."""

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput, SearchError
from diffes.pruning.calibration import Calibration
from diffes.pruning.mode import Compensation
from diffes.pruning.model import PrunedModel
from diffes.schedule import Schedule
from search.genome import Genome, GenomeSpace
from search.memory import MemoryLimit
from search.options import SearchOptions
from search.population import as_genome
from search.problem import Problem
from search.state import SearchState
from tests.search.conftest import small_options
from tests.search.searching import log_of, search

LIMIT = 1.03


def limited_options(**changes: object) -> SearchOptions:
    return small_options(**({"genes": "block", "macs": 0.5, "memory": LIMIT} | changes))


@pytest.fixture(scope="module")
def limited(tiny_checkpoint: Checkpoint) -> Problem:
    return Problem.of(tiny_checkpoint, limited_options())


@pytest.fixture(scope="module")
def finished(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("memory") / "out"
    search(tiny_checkpoint, limited_options(), out)
    return out


def random_genome(space: GenomeSpace, seed: int) -> Genome:
    return as_genome(np.random.RandomState(seed).randint(0, space.top + 1, space.genes))


@pytest.mark.parametrize("mode", ["none", "bias", "low-rank:4", "full"])
@pytest.mark.parametrize("genes", ["stage", "block"])
def test_what_is_counted_is_what_the_pruned_model_stores(
    mode: str, genes: str, tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    dense = tiny_checkpoint.architecture.dense
    space = GenomeSpace.of(dense, 3, genes)
    memory = MemoryLimit(tiny_checkpoint, space, Compensation.parse(mode), 2.0)
    for seed in range(3):
        genome = random_genome(space, seed)
        model = PrunedModel(tiny_checkpoint.architecture, tiny_weights, tiny_calibration, mode)
        before = sum(tensor.numel() for tensor in model.tensors.values())
        for plan in space.plans(genome):
            model.denoiser(plan)
        stored = sum(tensor.numel() for tensor in model.tensors.values())
        assert memory.of_dense(genome) == pytest.approx(stored / before)


def test_stages_that_agree_store_once(limited: Problem) -> None:
    assert limited.memory is not None
    one = limited.space.single(0, 2)
    both = tuple(max(pair) for pair in zip(one, limited.space.single(limited.space.genes_of_stage, 2), strict=True))
    assert limited.memory.of_dense(both) == limited.memory.of_dense(one) > 1


def test_every_genome_of_the_levels_left_is_within_the_limit(limited: Problem) -> None:
    random = np.random.RandomState(0)
    errors = np.sort(random.gamma(1.0, 1.0, limited.budget.savings.shape), axis=1)
    errors[:, 0] = 0
    budget = limited.affordable(errors)
    for seed in range(20):
        genome = budget.repaired(random_genome(limited.space, seed), random)
        assert limited.fits(as_genome(genome))
        assert limited.budget.feasible(genome)


def test_a_search_keeps_the_limit_and_says_what_is_stored(finished: Path, limited: Problem) -> None:
    schedule = Schedule.load(finished / "schedule.json")
    chosen = tuple(log_of(finished)["chosen"])
    assert limited.memory is not None
    assert schedule.provenance["memory"] == LIMIT
    assert schedule.provenance["weights_of_dense"] == pytest.approx(limited.memory.of_dense(chosen))
    assert 1 < limited.memory.of_dense(chosen) <= LIMIT
    assert limited.budget.removed(chosen) >= 0.5


def test_whatever_was_judged_was_within_the_limit_but_for_the_uniform_schedule(
    finished: Path, limited: Problem
) -> None:
    uniform = tuple(log_of(finished)["uniform"]["genome"])
    judged = {tuple(genome) for memo in SearchState.load(finished).memos.values() for genome, _ in memo}
    assert len(judged) > 6
    assert all(limited.fits(genome) for genome in judged - {uniform})
    assert len({level for level in uniform if level}) <= 2


def test_without_the_limit_the_search_would_store_more(
    tiny_checkpoint: Checkpoint, limited: Problem, tmp_path: Path
) -> None:
    search(tiny_checkpoint, limited_options(memory=None), tmp_path / "out")
    assert not limited.fits(tuple(log_of(tmp_path / "out")["chosen"]))


def test_a_limit_that_cannot_be_kept_is_refused_before_anything_runs(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    options = limited_options(memory=1.0, depth="none")
    with pytest.raises(SearchError, match=r"the memory limit cannot be kept: .* weights 1 x dense's"):
        search(tiny_checkpoint, options, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_compensation_nothing_is_stored_beside_dense(tiny_checkpoint: Checkpoint) -> None:
    problem = Problem.of(tiny_checkpoint, limited_options(memory=1.0, compensation="none"))
    assert problem.fits(random_genome(problem.space, 0))


@pytest.mark.parametrize("changes", [{"macs": (0.2, 0.5)}, {"method": "uniform", "screen_probes": None}])
def test_only_one_schedule_of_the_evolution_can_be_limited(changes: dict[str, object]) -> None:
    asked = small_options().model_dump(exclude_unset=True) | {"memory": 1.1} | changes
    with pytest.raises(InvalidInput, match="baselines and fronts have no such limit"):
        SearchOptions.checked(asked)

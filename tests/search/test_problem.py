import pytest
import torch

from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError, SearchError
from diffes.pruning.calibration import Calibration
from search.problem import Problem, require_device
from tests.search.conftest import small_options


def test_stages_hold_the_samplers_steps(problem: Problem) -> None:
    assert problem.step_stages == (1, 2, 3, 4)  # timesteps 750, 500, 250, 0 of five stages
    assert problem.executed == [0, 1, 1, 1, 1]


def test_the_rollouts_run_the_checkpoints_model(problem: Problem, tiny_calibration: Calibration) -> None:
    rollouts = problem.rollouts(tiny_calibration)
    assert rollouts.dense == problem.checkpoint.architecture.dense
    assert rollouts.model.compensation == "full"
    assert rollouts.model.dtype == torch.float32


def test_a_budget_out_of_reach_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match="the budget cannot be reached"):
        Problem.of(tiny_checkpoint, small_options(macs=0.98))


def test_an_unknown_sampler_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="unknown sampler"):
        Problem.of(tiny_checkpoint, small_options(sampler="PNDMScheduler"))


def test_the_cpu_is_always_there() -> None:
    require_device("cpu")
    with pytest.raises(SearchError, match="the device cannot be used"):
        require_device("abacus")

from dataclasses import replace
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor

from diffes.pruning.model import PrunedModel
from diffes.rollout import initial_state
from diffes.schedule import StagePlan
from search.fitness import Distance, SerialEvaluator
from search.rollouts import Probes

HALF = (2, 2) * 5


def test_the_dense_genome_is_at_no_distance(distance: Distance) -> None:
    assert distance(distance.space.dense) == 0


def test_a_pruned_genome_is_at_some_distance(distance: Distance) -> None:
    assert distance(HALF) > 0


def test_starting_from_the_teachers_state_equals_a_full_rollout(distance: Distance) -> None:
    late = (0,) * 6 + (3, 2, 1, 4)
    rollouts = distance.rollouts
    probes = Probes.drawn(4, 0, rollouts)
    plans = distance.space.plans(late)
    keys = [plans[stage] for stage in rollouts.step_stages]
    final = rollouts.run(keys, initial_state(rollouts.path, probes.noise), probes.prompts).latents
    assert distance(late) == pytest.approx(distance.between(final, distance.teacher.final), rel=1e-5)


def test_a_late_change_runs_only_the_late_steps(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[StagePlan] = []
    denoise = PrunedModel.denoise

    def counted(model: PrunedModel, plan: StagePlan, *given: Any) -> Tensor:
        steps.append(plan)
        return denoise(model, plan, *given)

    monkeypatch.setattr(PrunedModel, "denoise", counted)
    distance(distance.space.single(8, 1))
    assert len(steps) == 1


def test_pixels_are_compared_as_they_are_shown(distance: Distance) -> None:
    beyond = torch.full((1, 3, 8, 8), 3.0)
    assert distance.between(beyond, torch.ones_like(beyond)) == 0
    assert replace(distance, clip=float("inf")).between(beyond, torch.ones_like(beyond)) == 4


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_clipping_hides_no_sample_that_is_not_finite(value: float, distance: Distance) -> None:
    dense = torch.zeros(1, 3, 8, 8)
    assert isnan(distance.between(dense.index_fill(3, torch.tensor(0), value), dense))


def test_samples_that_are_not_finite_give_nan(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrunedModel, "denoise", lambda _self, _plan, latents, _conditions: latents * torch.nan)
    assert isnan(distance(HALF))


@pytest.mark.parametrize("genome", [HALF, (0,) * 8 + (1, 4), (0,) * 10], ids=["all", "late", "dense"])
def test_work_is_what_the_denoiser_did(
    distance: Distance, monkeypatch: pytest.MonkeyPatch, genome: tuple[int, ...]
) -> None:
    done: list[int] = []
    denoise = PrunedModel.denoise

    def counted(model: PrunedModel, plan: StagePlan, latents: Tensor, *given: Any) -> Tensor:
        done.append(len(latents) * model.architecture.macs(plan))
        return denoise(model, plan, latents, *given)

    monkeypatch.setattr(PrunedModel, "denoise", counted)
    distance(genome)
    assert distance.work(genome) == sum(done)


def test_an_objective_depends_on_no_other_genome_of_its_batch(distance: Distance) -> None:
    evaluate = SerialEvaluator(distance)
    others = [(1, 0) * 5, (0, 3) * 5]
    first, last, alone = (list(evaluate(genomes)) for genomes in ([HALF, *others], [*others, HALF], [HALF]))
    assert first[0] == last[2] == alone[0] == distance(HALF)


def test_the_mean_over_parts_of_the_probes_is_the_objective(distance: Distance) -> None:
    first, rest = distance.rows(slice(0, 1)), distance.rows(slice(1, 4))
    assert (first(HALF) + 3 * rest(HALF)) / 4 == pytest.approx(distance(HALF), rel=1e-5)

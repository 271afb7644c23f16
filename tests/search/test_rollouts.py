from dataclasses import replace

import pytest
import torch

from diffes.errors import SearchError
from search.problem import Problem
from search.rollouts import Probes, Rollouts, Teacher


def test_probes_are_the_same_for_the_same_seed_and_others_for_another(rollouts: Rollouts) -> None:
    first, again, other = (Probes.drawn(3, seed, rollouts) for seed in (0, 0, 1))
    assert torch.equal(first.noise, again.noise)
    assert not torch.isclose(first.noise, other.noise).any(dim=(1, 2, 3)).all()


def test_held_out_probes_share_no_noise_and_go_on_with_the_prompts(rollouts: Rollouts) -> None:
    seen, held_out = Probes.drawn(4, 0, rollouts), Probes.drawn(4, 0, rollouts, held_out=True)
    assert all(not torch.equal(a, b) for a in seen.noise for b in held_out.noise)
    assert seen.prompts.wanted["labels"].tolist() == [0, 1, 2, 3]
    assert held_out.prompts.wanted["labels"].tolist() == [4, 5, 6, 7]


def test_splitting_into_batches_changes_nothing(rollouts: Rollouts) -> None:
    probes = Probes.drawn(5, 0, rollouts)
    whole, split = (Teacher.of(replace(rollouts, batch=batch), probes) for batch in (5, 2))
    assert torch.allclose(whole.final, split.final, atol=1e-5)


def test_the_teacher_knows_the_state_before_every_step(problem: Problem, rollouts: Rollouts) -> None:
    teacher = Teacher.of(rollouts, Probes.drawn(2, 0, rollouts))
    assert rollouts.executed == [stage for stage, steps in enumerate(problem.executed) if steps]
    assert sorted(teacher.states) == [0, 1, 2, 3, 4]
    assert torch.equal(teacher.states[4].latents, teacher.final)


def test_some_of_a_teachers_probes_are_a_teacher(rollouts: Rollouts) -> None:
    teacher = Teacher.of(rollouts, Probes.drawn(3, 0, rollouts))
    last = teacher.rows(slice(2, 3))
    assert last.prompts.wanted["labels"].tolist() == [2]
    assert torch.equal(last.final[0], teacher.final[2])
    assert torch.equal(last.states[1].latents[0], teacher.states[1].latents[2])


def test_the_middle_step_of_a_stage_is_one_of_its_own(rollouts: Rollouts) -> None:
    for stage in rollouts.executed:
        assert rollouts.step_stages[rollouts.middle_step(stage)] == stage


def test_guidance_doubles_the_rows(rollouts: Rollouts) -> None:
    assert rollouts.rows(3) == 6
    assert replace(rollouts, guidance=1).rows(3) == 3


def test_a_dense_model_that_diverges_is_refused(rollouts: Rollouts) -> None:
    probes = Probes.drawn(1, 0, rollouts)
    broken = Probes(torch.full_like(probes.noise, torch.nan), probes.prompts)
    with pytest.raises(SearchError, match="not finite"):
        Teacher.of(rollouts, broken)

"""Every trajectory against diffusers' own scheduler stepping on the same model outputs."""

from math import inf
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor

from diffes.errors import CheckpointError, InvalidInput
from diffes.sampling import SAMPLERS, Trajectory, advance, advance_together, guide, trajectory

DIFFUSERS: dict[str, Any] = {
    "DDIMScheduler": DDIMScheduler,
    "EulerDiscreteScheduler": EulerDiscreteScheduler,
    "DPMSolverMultistepScheduler": DPMSolverMultistepScheduler,
}
BASE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "clip_sample": False}
STEPS = (1, 2, 4, 10, 20, 50)
NOISE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def fake_model(latents: Tensor, index: int) -> Tensor:
    """Some smooth function of the latents that differs from step to step."""
    pattern = torch.randn(latents.shape, generator=torch.Generator().manual_seed(100 + index))
    return 0.7 * torch.tanh(latents) + 0.3 * pattern


def diffusers_samples(sampler: str, config: dict[str, Any], steps: int) -> Tensor:
    scheduler = DIFFUSERS[sampler].from_config(config)
    scheduler.set_timesteps(steps)
    if sampler != "DDIMScheduler":
        scheduler.set_begin_index(0)  # else it skips a level where rounding makes the first two timesteps equal
    latents = NOISE * scheduler.init_noise_sigma
    for index, timestep in enumerate(scheduler.timesteps):
        out = fake_model(scheduler.scale_model_input(latents, timestep), index)
        latents = scheduler.step(out, timestep, latents).prev_sample
    return torch.as_tensor(latents)


def our_samples(path: Trajectory) -> Tensor:
    latents, clean = NOISE * path.noise_scale, torch.full_like(NOISE, 7.0)
    for index, step in enumerate(path.steps):
        out = fake_model(latents * step.scale, index)
        latents, clean = advance(rows_at(path, index, len(latents)), path.clip, latents, out, clean)
    return latents


def rows_at(path: Trajectory, index: int, rows: int) -> Tensor:
    return path.coefficients[index].expand(rows, -1)


def assert_same(sampler: str, steps: int, **options: Any) -> None:
    config = BASE | options
    path = trajectory(sampler, config, steps)
    scheduler = DIFFUSERS[sampler].from_config(config)
    scheduler.set_timesteps(steps)
    expected, found = diffusers_samples(sampler, config, steps), our_samples(path)
    assert path.timesteps == tuple(scheduler.timesteps.tolist())
    assert expected.isfinite().all()
    worst = float((found - expected).abs().max() / expected.abs().max())
    assert worst < 1e-4, f"{sampler} {steps} steps {options}: off by {worst:.1e}"


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_trajectory_is_what_the_scheduler_of_diffusers_steps(sampler: str, prediction: str, spacing: str) -> None:
    for steps in STEPS:
        assert_same(sampler, steps, prediction_type=prediction, timestep_spacing=spacing)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("DDIMScheduler", {"set_alpha_to_one": False}),
    ("DDIMScheduler", {"clip_sample": True}),
    ("DDIMScheduler", {"clip_sample": True, "clip_sample_range": 0.5, "prediction_type": "v_prediction"}),
    ("DDIMScheduler", {"clip_sample": True, "prediction_type": "sample"}),
    ("DDIMScheduler", {"steps_offset": 1}),
    (
        "DDIMScheduler",
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    ),
    ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_exponential_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_beta_sigmas": True}),
    ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}),
    ("EulerDiscreteScheduler", {"steps_offset": 1, "timestep_spacing": "leading"}),
    ("EulerDiscreteScheduler", {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"use_exponential_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"use_beta_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}),
    ("DPMSolverMultistepScheduler", {"euler_at_final": True}),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min", "lower_order_final": False}),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min", "euler_at_final": True}),
    ("DPMSolverMultistepScheduler", {"lower_order_final": False}),
    ("DPMSolverMultistepScheduler", {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ("DPMSolverMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}),
]


@pytest.mark.parametrize(("sampler", "options"), OPTIONS, ids=lambda value: str(value))
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_options_of_the_scheduler_are_honoured(sampler: str, options: dict[str, Any], schedule: str) -> None:
    for steps in (1, 4, 14, 15):  # 15 is where DPM-Solver++ stops lowering its final order
        assert_same(sampler, steps, **({"beta_schedule": schedule} | options))


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("DDIMScheduler", {"thresholding": True}),
    ("DDIMScheduler", {"prediction_type": "flow_prediction"}),
    ("DDIMScheduler", {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ("DDIMScheduler", {"timestep_spacing": "uneven"}),
    ("DDIMScheduler", {"beta_schedule": "sigmoid"}),
    ("DDIMScheduler", {"num_train_timesteps": None}),
    ("EulerDiscreteScheduler", {"prediction_type": "original_sample"}),
    ("EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "v_prediction"}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "use_beta_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"thresholding": True}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    ("DPMSolverMultistepScheduler", {"solver_type": "heun"}),
    ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
    ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}),
]


@pytest.mark.parametrize(("sampler", "options"), REFUSED, ids=lambda value: str(value))
def test_options_without_a_linear_update_are_refused(sampler: str, options: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        trajectory(sampler, BASE | options, 10)


def test_an_unknown_sampler_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="expected one of DDIMScheduler.*found PNDMScheduler"):
        trajectory("PNDMScheduler", BASE, 10)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_number_of_steps_outside_the_training_steps_is_refused(sampler: str, steps: int) -> None:
    with pytest.raises(InvalidInput, match=r"steps: expected 1\.\.1000"):
        trajectory(sampler, BASE, steps)


@pytest.mark.parametrize(
    ("sampler", "steps", "options"),
    [
        ("DDIMScheduler", 61, {"timestep_spacing": "trailing"}),
        ("DDIMScheduler", 1000, {"steps_offset": 1}),
        ("EulerDiscreteScheduler", 61, {"timestep_spacing": "trailing"}),
        ("DPMSolverMultistepScheduler", 61, {"timestep_spacing": "trailing"}),
        ("DPMSolverMultistepScheduler", 1000, {"timestep_spacing": "leading"}),
        ("DPMSolverMultistepScheduler", 1000, {"timestep_spacing": "linspace"}),
    ],
)
def test_a_number_of_steps_the_spacing_cannot_place_is_refused(
    sampler: str, steps: int, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match=f"found {steps}"):
        trajectory(sampler, BASE | options, steps)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_at_different_steps_advance_as_each_would_alone(sampler: str) -> None:
    path = trajectory(sampler, BASE | {"clip_sample": True}, 8)
    generator = torch.Generator().manual_seed(2)
    x, out, before = (torch.randn(len(path.steps), 3, 4, 4, generator=generator) for _ in range(3))
    together, clean_together = advance(path.coefficients, path.clip, x, out, before)
    for i in range(len(path.steps)):
        row = slice(i, i + 1)
        alone, clean_alone = advance(path.coefficients[row], path.clip, x[row], out[row], before[row])
        assert torch.equal(together[row], alone)
        assert torch.equal(clean_together[row], clean_alone)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_at_one_step_advance_together_as_apart_to_the_bit(sampler: str) -> None:
    path = trajectory(sampler, BASE | {"clip_sample": True}, 8)
    x, out, before = torch.randn(3, 64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for index, step in enumerate(path.steps):
        apart = advance(rows_at(path, index, 64), path.clip, x, out, before)
        together = advance_together(step, path.clip, x, out, before)
        assert all(torch.equal(one, other) for one, other in zip(apart, together, strict=True))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_first_step_ignores_the_clean_image_before_it(sampler: str) -> None:
    assert trajectory(sampler, BASE, 10).steps[0].previous == 0


def test_only_a_clipping_ddim_clips() -> None:
    clipping = BASE | {"clip_sample": True, "clip_sample_range": 2.0}
    assert [trajectory(sampler, clipping, 4).clip for sampler in SAMPLERS] == [2.0, inf, inf]
    assert trajectory("DDIMScheduler", BASE, 4).clip == inf


def test_guidance_extrapolates_from_the_unconditional_half() -> None:
    conditional, unconditional = NOISE[:1], NOISE[1:]
    out = torch.cat([conditional, unconditional])
    torch.testing.assert_close(guide(out, 1.0), conditional)
    torch.testing.assert_close(guide(out, 0.0), unconditional)
    torch.testing.assert_close(guide(out, 1.5), 1.5 * conditional - 0.5 * unconditional)

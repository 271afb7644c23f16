"""Deterministic samplers as rows of coefficients.

A diffusers scheduler keeps its step index inside and so advances one trajectory at a time. Every sampler served
here (DDIM with η = 0, Euler, DPM-Solver++ 2M) is, per step, linear in the latents x, the model's output, the clean
image x0 it implies and the x0 before. So the scheduler is read once, its coefficients are kept, and one batched
update advances rows that stand at different steps:

    x0     = from_x * x + from_out * out          (clipped to ±clip in pixel space, if the scheduler clips)
    x_next = keep * x + model * out + clean * x0 + previous * x0_before

Sources: DDIM arXiv 2010.02502 (12), Karras et al. arXiv 2206.00364 (alg. 1 without churn),
DPM-Solver++ arXiv 2211.01095 (alg. 2), each in diffusers' discretisation. diffusers is imported where it is used:
that takes seconds, which a process that reads no scheduler need not wait for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, log, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffes.errors import CheckpointError, InvalidInput


class Step(NamedTuple):
    """The coefficients of one step of one trajectory."""

    timestep: float
    scale: float  # of x before it enters the denoiser
    from_x: float
    from_out: float
    keep: float
    model: float
    clean: float
    previous: float


@dataclass(frozen=True)
class Trajectory:
    """All steps of a sampler, the scale of its first noise, and how far x0 is clipped (inf: not at all)."""

    steps: tuple[Step, ...]
    noise_scale: float
    clip: float

    @property
    def timesteps(self) -> tuple[float, ...]:
        """Training timesteps the denoiser is asked at, noisy to clean."""
        return tuple(step.timestep for step in self.steps)

    @cached_property
    def coefficients(self) -> Tensor:
        """[steps, 6] float32, a row for `advance` of each step."""
        return torch.tensor([step[2:] for step in self.steps], dtype=torch.float32)


def trajectory(sampler: str, config: Mapping[str, Any], steps: int) -> Trajectory:
    """Coefficients of `steps` steps of a diffusers scheduler class under a scheduler config.

    CheckpointError for a class or option without a deterministic linear update; InvalidInput for steps out of
    range.
    """
    if sampler not in _SAMPLERS:
        raise CheckpointError("unknown sampler", expected=f"one of {', '.join(sorted(_SAMPLERS))}", found=sampler)
    most = train_timesteps(config)
    if not 1 <= steps <= most:
        raise InvalidInput("steps", expected=f"1..{most}", found=steps)
    try:
        return _SAMPLERS[sampler](config, steps)
    except (TypeError, ValueError, NotImplementedError) as error:  # how diffusers refuses an option's value
        raise CheckpointError("unusable scheduler config", expected=f"a config of {sampler}", found=error) from error


def train_timesteps(config: Mapping[str, Any]) -> int:
    """T of a scheduler config; CheckpointError if it has none."""
    found = config.get("num_train_timesteps")
    if not isinstance(found, int) or found < 1:
        raise CheckpointError("scheduler config has no num_train_timesteps", expected="a count", found=found)
    return found


def advance(coefficients: Tensor, clip: float, x: Tensor, out: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """One update of rows that may stand at different steps.

    x, out, before: [B, C, h, w]; `coefficients` [B, 6] are each row's of its trajectory, on x's device; `before` is
    the rows' previous x0 (any value at a first step, whose coefficient is 0). Returns (x_next, x0), float32.
    """
    return _updated([column.view(-1, 1, 1, 1) for column in coefficients.unbind(1)], clip, x, out, before)


def advance_together(step: Step, clip: float, x: Tensor, out: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """`advance` of rows that all stand at one step, to the bit."""
    return _updated(step[2:], clip, x, out, before)


def _updated(
    coefficients: Sequence[Tensor | float], clip: float, x: Tensor, out: Tensor, before: Tensor
) -> tuple[Tensor, Tensor]:
    from_x, from_out, keep, model, clean, previous = coefficients
    x0 = from_x * x + from_out * out
    if clip != inf:
        x0 = x0.clamp(-clip, clip)
    return keep * x + model * out + clean * x0 + previous * before, x0


def guide(out: Tensor, guidance: float | Tensor) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598): rows [conditional; unconditional] to one prediction.

    `guidance` is one number, or one per row as [B, 1, 1, 1].
    """
    conditional, unconditional = out.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def _ddim(config: Mapping[str, Any], steps: int) -> Trajectory:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler.from_config(dict(config))
    _refuse(scheduler.config, thresholding=False)
    timesteps = _spaced(scheduler, steps)
    alphas = scheduler.alphas_cumprod.double()
    stride = scheduler.config.num_train_timesteps // steps
    rows = []
    for t in timesteps:
        now = float(alphas[t])
        behind = t - stride
        then = float(alphas[behind]) if behind >= 0 else float(scheduler.final_alpha_cumprod)
        from_x, from_out = _clean_from(scheduler.config.prediction_type, sqrt(now), sqrt(1 - now))
        noise_x, noise_out = _noise_from(scheduler.config.prediction_type, sqrt(now), sqrt(1 - now))
        direction = sqrt(1 - then)
        rows.append(
            Step(
                timestep=t,
                scale=1.0,
                from_x=from_x,
                from_out=from_out,
                keep=direction * noise_x,
                model=direction * noise_out,
                clean=sqrt(then),
                previous=0.0,
            )
        )
    clip = float(scheduler.config.clip_sample_range) if scheduler.config.clip_sample else inf
    return Trajectory(tuple(rows), noise_scale=1.0, clip=clip)


def _euler(config: Mapping[str, Any], steps: int) -> Trajectory:
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler.from_config(dict(config))
    _refuse(scheduler.config, timestep_type="discrete")
    timesteps = _spaced(scheduler, steps)
    sigmas = scheduler.sigmas.double().tolist()
    rows = []
    for t, sigma, behind in zip(timesteps, sigmas, sigmas[1:], strict=False):
        # x = x_vp * sqrt(1 + sigma^2): the variance-preserving alpha is 1 / sqrt(1 + sigma^2)
        root = sqrt(1 + sigma**2)
        prediction = scheduler.config.prediction_type
        from_x, from_out = _clean_from(prediction, 1 / root, sigma / root)
        # dx/dsigma = (x - x0) / sigma, one Euler step
        ratio = (behind - sigma) / sigma
        rows.append(
            Step(
                timestep=t,
                scale=1 / root,
                from_x=from_x / root,
                from_out=from_out,
                keep=1 + ratio,
                model=0.0,
                clean=-ratio,
                previous=0.0,
            )
        )
    return Trajectory(tuple(rows), noise_scale=float(scheduler.init_noise_sigma), clip=inf)


def _dpm_solver(config: Mapping[str, Any], steps: int) -> Trajectory:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler.from_config(dict(config))
    _refuse(
        scheduler.config,
        thresholding=False,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        use_flow_sigmas=False,
    )
    timesteps = _spaced(scheduler, steps)
    levels = [_variance_preserving(s) for s in scheduler.sigmas.double().tolist()]
    rows: list[Step] = []
    for i, t in enumerate(timesteps):
        (alpha, sigma), (alpha_next, sigma_next) = levels[i], levels[i + 1]
        from_x, from_out = _clean_from(scheduler.config.prediction_type, alpha, sigma)
        h = _log_snr(alpha_next, sigma_next) - _log_snr(alpha, sigma)
        push = -alpha_next * (exp(-h) - 1)
        previous = 0.0
        if i > 0 and not _ends_first_order(scheduler.config, i, steps):
            behind = _log_snr(alpha, sigma) - _log_snr(*levels[i - 1])
            previous = -0.5 * push * h / behind
        rows.append(
            Step(
                timestep=t,
                scale=1.0,
                from_x=from_x,
                from_out=from_out,
                keep=sigma_next / sigma,
                model=0.0,
                clean=push - previous,
                previous=previous,
            )
        )
    return Trajectory(tuple(rows), noise_scale=1.0, clip=inf)


_SAMPLERS: dict[str, Callable[[Mapping[str, Any], int], Trajectory]] = {
    "DDIMScheduler": _ddim,
    "EulerDiscreteScheduler": _euler,
    "DPMSolverMultistepScheduler": _dpm_solver,
}
SAMPLERS = tuple(_SAMPLERS)


def _spaced(scheduler: Any, steps: int) -> list[float]:
    """Set and return the scheduler's timesteps; InvalidInput for a count its spacing cannot give.

    diffusers then repeats noise levels or leaves 0..T-1: "trailing" ends at -1 for 61 of 1000, for one.
    """
    scheduler.set_timesteps(steps)
    timesteps: list[float] = scheduler.timesteps.tolist()
    levels = scheduler.sigmas.tolist()[:steps] if hasattr(scheduler, "sigmas") else timesteps
    last = scheduler.config.num_train_timesteps - 1
    if len(timesteps) == len(set(levels)) == steps and all(0 <= t <= last for t in timesteps):
        return timesteps
    raise InvalidInput(
        "steps",
        expected=f"a number that timestep spacing {scheduler.config.timestep_spacing!r} can place in 0..{last}",
        found=steps,
        remedy="Ask for a few steps more or less.",
    )


def _clean_from(prediction: str, alpha: float, sigma: float) -> tuple[float, float]:
    """x0 = a * x + b * out for the model's prediction type, variance preserving."""
    if prediction == "epsilon":
        if alpha == 0:
            raise CheckpointError(
                "noise prediction says nothing about the image at zero signal",
                expected="rescale_betas_zero_snr with v_prediction or sample",
                found=prediction,
            )
        return 1 / alpha, -sigma / alpha
    if prediction == "v_prediction":
        return alpha, -sigma
    if prediction == "sample":
        return 0.0, 1.0
    raise CheckpointError(
        "unsupported scheduler option prediction_type", expected="epsilon, v_prediction or sample", found=prediction
    )


def _noise_from(prediction: str, alpha: float, sigma: float) -> tuple[float, float]:
    """ε = a * x + b * out for the model's prediction type, variance preserving."""
    if prediction == "epsilon":
        return 0.0, 1.0
    if prediction == "v_prediction":
        return sigma, alpha
    return 1 / sigma, -alpha / sigma


def _variance_preserving(sigma: float) -> tuple[float, float]:
    alpha = 1 / sqrt(sigma**2 + 1)
    return alpha, sigma * alpha


def _log_snr(alpha: float, sigma: float) -> float:
    return inf if sigma == 0 else log(alpha) - log(sigma)


def _ends_first_order(config: Any, index: int, steps: int) -> bool:
    """Whether diffusers takes the last step with the first-order update."""
    if index != steps - 1:
        return False
    short = bool(config.lower_order_final) and steps < 15
    return bool(config.euler_at_final) or short or config.final_sigmas_type == "zero"


def _refuse(config: Any, **supported: object) -> None:
    """CheckpointError for a scheduler option that has no linear update here."""
    for option, value in supported.items():
        found = getattr(config, option, value)
        if found != value:
            raise CheckpointError(f"unsupported scheduler option {option}", expected=value, found=found)

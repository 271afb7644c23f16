"""A pruned model in memory: ordered weights, their compensations on demand, and a denoiser per stage plan.

Search, evaluation and export read from here; a bundle is this, written down.
"""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffes.architectures import Architecture, Conditioning, PrunableLayer
from diffes.errors import ScheduleError
from diffes.prompts import Encoded, Rows
from diffes.pruning.calibration import Calibration
from diffes.pruning.compensation import LayerCompensation, LowRankCompensation
from diffes.pruning.damping import Damping
from diffes.pruning.mode import Compensation
from diffes.pruning.moments import LayerMoments
from diffes.pruning.ordering import Reordering
from diffes.pruning.prefix import Prefix, compensated_name, resolve
from diffes.schedule import CompensationMode, StagePlan

_MOST_DENOISERS = 256  # a search builds thousands, of some hundred kB each


class PrunedModel:
    """Ordered weights of one checkpoint on one device, and everything a stage plan needs of them.

    `tensors` holds the ordered weights and every compensated tensor asked for so far. With `dtype` other than
    float32 steps run in it; compensation is always solved in float64 and rounded once. Without a calibration the
    weights stay in the checkpoint's order and only the dense plan can be asked for. What runs once a request is in
    `once`: a condition in 16 bits would cost more than it spares, unless it is to be stored so.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, Tensor],
        calibration: Calibration | None,
        compensation: CompensationMode,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        once: torch.dtype = torch.float32,
        taken: bool = False,
    ) -> None:
        """With `taken` weights are taken out of their dict one by one, so that a large model is held once."""
        self.architecture = architecture
        self.compensation = compensation
        self._mode = Compensation.parse(compensation)
        self.device = torch.device(device)
        self.dtype = dtype
        self._calibration = calibration
        self.tensors: dict[str, Tensor] = {}
        self._unrounded: dict[str, Tensor] = {}  # what compensation is solved for
        self._place(weights if taken and isinstance(weights, dict) else dict(weights), once)
        self._rows = {name: len(tensor) for name, tensor in self.tensors.items()}
        self._solvers: dict[PrunableLayer, LayerCompensation] = {}
        self._factors: dict[PrunableLayer, LowRankCompensation] = {}
        self._denoisers: OrderedDict[StagePlan, nn.Module] = OrderedDict()
        self._conditioning = Conditioning(architecture, self.tensors, self.device)

    def _place(self, weights: dict[str, Tensor], once: torch.dtype) -> None:
        """Take every tensor out, put its units in order, and place it."""
        order = None if self._calibration is None else Reordering(self.architecture, self._calibration.ordering)
        step = set(self.architecture.step_weights())
        solved = {name for layer in self.architecture.layers for name in (layer.projection, layer.bias)}
        for name in list(weights):
            tensor = weights.pop(name).to(self.device)
            tensor = tensor if order is None else order(name, tensor)
            if name in solved:
                self._unrounded[name] = tensor
            self.tensors[name] = tensor.to(self.dtype if name in step else once).contiguous()

    def prefixes(self, plan: StagePlan) -> dict[str, Prefix]:
        """Which prefix of which tensor the plan's denoiser reads; solves compensations it lacks.

        ScheduleError for a pruned plan without a calibration.
        """
        if self._calibration is None and plan != self.architecture.dense:
            raise ScheduleError(
                "a pruned plan needs a calibration",
                expected="an ordering, so that prefixes keep what matters most",
                found="none",
            )
        for layer in self.architecture.layers:
            self._compensate(layer, layer.kept(plan))
        return resolve(self.architecture, plan, self._mode, self._rows)

    def denoiser(self, plan: StagePlan) -> nn.Module:
        """The plan's denoiser on views of `tensors`; the last few hundred are kept."""
        if plan in self._denoisers:
            self._denoisers.move_to_end(plan)
        else:
            weights = {n: p.of(self.tensors) for n, p in self.prefixes(plan).items()}
            self._denoisers[plan] = self.architecture.denoiser(plan, weights).eval()
            if len(self._denoisers) > _MOST_DENOISERS:
                self._denoisers.popitem(last=False)
        return self._denoisers[plan]

    def move_onto(self, tensors: Mapping[str, Tensor]) -> None:
        """Read these, equal ones held elsewhere, from now on: its own memory is given back.

        Plans that were asked for before can be asked for again; nothing new can be compensated.
        """
        self.tensors.update({name: tensor for name, tensor in tensors.items() if name in self.tensors})
        for kept in (self._unrounded, self._solvers, self._factors, self._denoisers):
            kept.clear()
        own = {name: self.tensors[name] for name in self._rows}  # compensated ones are a step's
        self._conditioning = Conditioning(self.architecture, own, self.device)

    @property
    def has_factors(self) -> bool:
        """Whether pruned layers add what low-rank factors make of their entry."""
        return self._mode.kind == "low-rank"

    def whole_denoiser(self) -> nn.Module:
        """A denoiser that has all that any plan's has: every layer, and its factors if pruned ones have some.

        What it predicts means nothing, for these hold no numbers.
        """
        dense, rank = self.architecture.dense, self._mode.rank
        weights = {name: prefix.of(self.tensors) for name, prefix in self.prefixes(dense).items()}
        for layer in self.architecture.layers if self.has_factors else ():
            weights[layer.left] = torch.empty(layer.entry, rank, device=self.device, dtype=self.dtype)
            weights[layer.right] = torch.empty(rank, layer.outputs, device=self.device, dtype=self.dtype)
        return self.architecture.denoiser(dense, weights).eval()

    def condition_module(self) -> nn.Module:
        """The condition on the model's own tensors."""
        return self._conditioning.module

    @torch.inference_mode()
    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps, on the device."""
        return self._conditioning.encode(prompts)

    @torch.inference_mode()
    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition [N, ...] on the device."""
        return self._conditioning.condition(timesteps, features)

    @torch.inference_mode()
    def denoise(self, plan: StagePlan, latents: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """latents [B, C, h, w] float32 → the model's output, float32."""
        inputs = {name: value.to(self.device, self.dtype) for name, value in conditions.items()}
        output: Tensor = self.denoiser(plan)(latents.to(self.device, self.dtype), **inputs)
        return output.float()

    def _compensate(self, layer: PrunableLayer, kept: int) -> None:
        stored = compensated_name(layer.bias, kept)
        if self._mode.kind == "none" or kept == layer.units or stored in self.tensors:
            return
        rows = kept * layer.width
        if self._mode.kind == "bias":
            bias = self._solver(layer).bias_only(rows)
        elif self._mode.kind == "full":
            projection, bias = self._solver(layer).full(rows)
            if kept > 0:
                self.tensors[compensated_name(layer.projection, kept)] = self._placed(projection)
        else:
            factors = self._factor(layer)
            self.tensors.setdefault(layer.left, self._placed(factors.left))
            right, bias = factors.right(rows)
            self.tensors[compensated_name(layer.right, kept)] = self._placed(right)
        self.tensors[stored] = self._placed(bias)

    def _solver(self, layer: PrunableLayer) -> LayerCompensation:
        if layer not in self._solvers:
            projection, bias, moments, damping = self._known(layer)
            self._solvers[layer] = LayerCompensation(projection, bias, moments, damping.inputs)
        return self._solvers[layer]

    def _factor(self, layer: PrunableLayer) -> LowRankCompensation:
        if layer not in self._factors:
            projection, bias, moments, damping = self._known(layer)
            self._factors[layer] = LowRankCompensation(projection, bias, moments, damping.entry, self._mode.rank)
        return self._factors[layer]

    def _known(self, layer: PrunableLayer) -> tuple[Tensor, Tensor, LayerMoments, Damping]:
        assert self._calibration is not None  # prefixes() saw to it
        moments = self._calibration.ordered_moments.of(layer).to(self.device)
        damping = self._calibration.dampings[layer.projection]
        return self._unrounded[layer.projection], self._unrounded[layer.bias], moments, damping

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype).contiguous()

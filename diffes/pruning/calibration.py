"""Calibration: what the dense model does on its own trajectories or on data, and the orderings that follow.

Everything that pruning needs to know about a checkpoint is in one file: mean and second moments of what every pruned
projection reads, the damping of each layer, and every kind of ordering, one of which the spec chooses. It depends on
the model, the sampler and the seed, not on a schedule, so one calibration serves every search and export of a
checkpoint.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffes.architectures import Architecture
from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError, InvalidInput
from diffes.files import atomic_path
from diffes.precision import full_float32
from diffes.pruning.damping import Damping, choose_dampings
from diffes.pruning.data import ImageFolder, NoisedData
from diffes.pruning.gather import DenseModel, OwnTrajectories, Source, gather
from diffes.pruning.mode import OrderingKind
from diffes.pruning.moments import Moments, weighted_average
from diffes.pruning.ordering import Ordering, order_moments, order_units
from diffes.pruning.spec import CalibrationSpec

__all__ = ["CALIBRATION_FILE", "Calibration", "CalibrationSpec", "calibrate"]

ORDERING_KINDS: tuple[OrderingKind, ...] = get_args(OrderingKind)
CALIBRATION_FILE = "calibration.safetensors"  # as a search leaves it beside its schedule.json


@dataclass(frozen=True)
class Calibration:
    """Moments (in checkpoint order), dampings and orderings of one model."""

    fingerprint: str
    spec: CalibrationSpec
    orderings: Mapping[OrderingKind, Ordering]
    moments: Moments
    dampings: Mapping[str, Damping]
    architecture: Architecture

    @property
    def ordering(self) -> Ordering:
        """The ordering that the spec chooses."""
        return self.orderings[self.spec.ordering]

    def ordered_by(self, kind: OrderingKind) -> "Calibration":
        """The same calibration with another of its orderings chosen."""
        return replace(self, spec=replace(self.spec, ordering=kind))

    @property
    def provenance(self) -> dict[str, JsonValue]:
        """What a schedule made by this calibration should say: spec, ordering digest, dampings [inputs, entry]."""
        dampings: dict[str, JsonValue] = {name: list(damping) for name, damping in self.dampings.items()}
        return {"calibration": self.spec.to_json(), "ordering": self.ordering_digest, "damping": dampings}

    @cached_property
    def ordered_moments(self) -> Moments:
        """The moments with units in order."""
        return order_moments(self.architecture, self.moments, self.ordering)

    @cached_property
    def ordering_digest(self) -> str:
        """Names the ordering; schedules carry it, since a prefix means nothing without it."""
        digest = hashlib.sha256()
        for name in sorted(self.ordering):
            digest.update(self.ordering[name].numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        for name in self.moments.mean:
            for kind, ordering in self.orderings.items():
                tensors[f"{name}.ordering.{kind}"] = ordering[name]
            tensors[f"{name}.mean"] = self.moments.mean[name].float()
            tensors[f"{name}.second"] = self.moments.second[name].float()
        metadata = {
            "fingerprint": self.fingerprint,
            "digest": self.spec.digest(self.fingerprint),
            "spec": json.dumps(self.spec.to_json()),
            "rows": str(self.moments.rows),
            "dampings": json.dumps(self.dampings),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, path: Path, checkpoint: Checkpoint, spec: CalibrationSpec | None = None) -> "Calibration":
        """Read a calibration; CheckpointError if it was not made for this `checkpoint` (and `spec`, if given).

        The ordering is the one that `spec` chooses, without it the one that was chosen when the file was made.
        """
        fingerprint = checkpoint.identity.fingerprint
        names = [layer.projection for layer in checkpoint.architecture.layers]
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                _require(path, metadata, "fingerprint", fingerprint)
                if spec is not None:
                    _require(path, metadata, "digest", spec.digest(fingerprint))
                stored = CalibrationSpec.from_json(json.loads(metadata["spec"]))
                moments = Moments(
                    mean={n: file.get_tensor(f"{n}.mean").double() for n in names},
                    second={n: file.get_tensor(f"{n}.second").double() for n in names},
                    rows=int(metadata["rows"]),
                )
                orderings = {
                    kind: {n: file.get_tensor(f"{n}.ordering.{kind}") for n in names} for kind in ORDERING_KINDS
                }
                dampings = {n: Damping(*pair) for n, pair in json.loads(metadata["dampings"]).items()}
        except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
            raise CheckpointError(
                f"cannot read calibration {path}", expected="safetensors", found=error, remedy="Delete it."
            ) from error
        read = cls(fingerprint, stored, orderings, moments, dampings, checkpoint.architecture)
        return read if spec is None else read.ordered_by(spec.ordering)


def _require(path: Path, metadata: Mapping[str, str], key: str, wanted: str) -> None:
    if metadata.get(key) != wanted:
        raise CheckpointError(
            f"calibration {path} is of another model or spec",
            expected=f"{key} {wanted[:16]}",
            found=str(metadata.get(key))[:16],
        )


@torch.inference_mode()
def calibrate(
    checkpoint: Checkpoint,
    spec: CalibrationSpec,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] = lambda _: None,
) -> Calibration:
    """Run the dense model, gather moments over its executed steps, choose dampings, order the units.

    `data` is the folder of images of a spec whose source is data. `progress` is called with the share done.
    Deterministic for one machine and thread count.
    """
    architecture = checkpoint.architecture
    source = _source(checkpoint, spec, data)
    weights = {name: tensor.to(device, torch.float32) for name, tensor in checkpoint.weights().items()}
    with full_float32():
        halves = gather(checkpoint, spec, DenseModel(architecture, weights), source, progress)
    projections = {layer.projection: weights[layer.projection] for layer in architecture.layers}
    moments = weighted_average(halves, [half.rows for half in halves])
    if isinstance(spec.damping, str):
        dampings = choose_dampings(architecture, projections, (halves[0], halves[1]))
    else:
        dampings = dict.fromkeys(projections, Damping(spec.damping, spec.damping))
    for_inputs = {name: damping.inputs for name, damping in dampings.items()}
    orderings = {kind: order_units(architecture, projections, moments, kind, for_inputs) for kind in ORDERING_KINDS}
    # what a file keeps is what is used, so a calibration read back changes nothing
    rounded = Moments(
        {name: tensor.float().double().cpu() for name, tensor in moments.mean.items()},
        {name: tensor.float().double().cpu() for name, tensor in moments.second.items()},
        moments.rows,
    )
    return Calibration(checkpoint.identity.fingerprint, spec, orderings, rounded, dampings, architecture)


def _source(checkpoint: Checkpoint, spec: CalibrationSpec, data: Path | None) -> Source:
    if spec.source == "trajectories":
        return OwnTrajectories(spec, checkpoint)
    if data is None:
        raise InvalidInput(
            "calibration data",
            expected=f"the folder of images of digest {spec.data}",
            found="none",
            remedy="Give --calibration-data, or the calibration file that the search left.",
        )
    return NoisedData(checkpoint, spec, ImageFolder(data, spec.images))

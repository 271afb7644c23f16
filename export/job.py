"""Checkpoint + schedules → bundle: order the weights, trace what runs, store every weight once, verify, rename."""

from collections import ChainMap, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch

import diffes
from diffes.blob import Blob, write_blob
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.components import read_config
from diffes.errors import ScheduleError
from diffes.files import sha256_of, write_text_atomically
from diffes.manifest import (
    DTYPES,
    MANIFEST,
    BlobRecord,
    Decode,
    DtypeName,
    Graph,
    Manifest,
    Network,
    StageReference,
    Subgraph,
    TokenizerFile,
)
from diffes.presets import dense_schedule
from diffes.pruning.calibration import CALIBRATION_FILE, Calibration
from diffes.pruning.model import PrunedModel
from diffes.schedule import CompensationMode, Schedule, StagePlan
from diffes.sizes import Size
from export.folder import new_folder
from export.networks import write_networks
from export.pieces import Piece, condition_piece, decoder_piece, denoiser_piece, encoder_piece, subgraph_id
from export.sizing import other_sizes, tile_of
from export.trace import OPSET
from export.weights import Weights
from export.writer import BLOB, Progress, write_graphs

TEXTS = 256  # of the checkpoint's that a bundle keeps, to be tried and warmed up with
DENSE = "dense"  # the schedule every bundle has: what quality is measured against


def export_bundle(
    checkpoint: Checkpoint,
    schedules: Mapping[str, Schedule],
    default: str,
    calibration: Calibration | None,
    out: Path,
    *,
    dtype: DtypeName = "float32",
    overwrite: bool = False,
    sizes: Sequence[Size] = (),
    tile: int | None = None,
    verify: bool = True,
    check: Callable[[Bundle], None] = lambda _: None,
    progress: Progress = lambda _phase, _share: None,
) -> Bundle:
    """Write a bundle to `out`, whole or not at all, and open it.

    The `dense` schedule is added for the default schedule's sampler. `calibration` may be None if nothing is
    pruned. Weights are stored, and steps run, in `dtype`. Images of `sizes` can be asked for besides those of the
    model's own size; what has more than `tile` pixels a side is decoded tile by tile. `verify` runs every graph against
    torch before the bundle appears, and so is `check`, with the opened bundle: what it raises keeps the bundle from
    appearing. `progress` is called with what is being done and the share done. ScheduleError for schedules that do not
    fit the checkpoint, the calibration or each other; BundleError if `out` is taken or a graph fails verification;
    InvalidInput for a size or a tile that the model cannot be.
    """
    schedules = with_dense(checkpoint, schedules, default)
    compensation, others = _check_schedules(checkpoint, schedules, calibration), other_sizes(checkpoint, sizes)
    tile = None if tile is None else tile_of(checkpoint, tile)
    with new_folder(out, overwrite=overwrite) as folder:
        stored = DTYPES[dtype]
        model = PrunedModel(
            checkpoint.architecture,
            checkpoint.weights(),
            calibration,
            compensation,
            dtype=stored,
            once=stored,
            taken=True,
        )
        contents = _stored(
            folder / BLOB, checkpoint, model, lambda to: _Contents.of(checkpoint, model, schedules, others, tile, to)
        )
        graphs, error = write_graphs(folder, contents.pieces, verify=verify, progress=progress)
        graphs, networks = write_networks(folder, contents.pieces, graphs, verify=verify, progress=progress)
        made = _created_with(calibration, error)
        manifest = contents.manifest(folder, graphs, networks, dtype=dtype, default=default, created_with=made)
        write_text_atomically(folder / MANIFEST, manifest.text())
        check(Bundle.open(folder))
    return Bundle(out, manifest)


def _stored(
    path: Path, checkpoint: Checkpoint, model: PrunedModel, gather: Callable[[Weights], "_Contents"]
) -> "_Contents":
    """What is gathered, its weights in a blob: gathered again when they are, from the mapped file, not memory."""
    weights = Weights(model.dtype)
    gather(weights)
    write_blob(path, weights.tensors, {"model": checkpoint.identity.fingerprint})
    model.move_onto(weights.move_into(Blob(path)))
    return gather(weights)


@dataclass(frozen=True)
class _Contents:
    """What goes into one bundle."""

    checkpoint: Checkpoint
    schedules: Mapping[str, Schedule]
    weights: Weights
    denoisers: Mapping[StagePlan, Piece]
    encoder: Piece | None
    condition: Piece
    decoder: Piece | None
    sizes: tuple[Size, ...]
    tile: int | None  # latents a side

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        model: PrunedModel,
        schedules: Mapping[str, Schedule],
        sizes: tuple[Size, ...],
        tile: int | None,
        weights: Weights,
    ) -> "_Contents":
        """Gather the pieces, and with them the weights."""
        vae = checkpoint.vae_folder
        plans = [checkpoint.architecture.dense, *(plan for s in schedules.values() for plan in s.plans)]
        return cls(
            checkpoint=checkpoint,
            schedules=schedules,
            denoisers={plan: denoiser_piece(model, plan, weights) for plan in dict.fromkeys(plans)},
            encoder=encoder_piece(model, weights),
            condition=condition_piece(model, weights),
            decoder=None if vae is None else decoder_piece(checkpoint, vae, weights, tiled=tile is not None),
            sizes=sizes,
            tile=tile,
            weights=weights,
        )

    @property
    def pieces(self) -> list[Piece]:
        """Everything that becomes a graph."""
        return [*self.denoisers.values(), self.condition, *filter(None, (self.encoder, self.decoder))]

    def manifest(
        self,
        folder: Path,
        graphs: Mapping[str, Graph],
        networks: tuple[Network, ...],
        *,
        dtype: DtypeName,
        default: str,
        created_with: dict[str, str],
    ) -> Manifest:
        """The manifest of what was written to `folder`."""
        return Manifest(
            model=self.checkpoint.identity,
            tokenizers=_write_tokenizers(folder, self.checkpoint),
            texts=self.checkpoint.texts[:TEXTS],
            sizes=self.sizes,
            config=dict(self.checkpoint.config),
            scheduler=dict(self.checkpoint.scheduler_config),
            labels=self.checkpoint.labels,
            dtype=dtype,
            default=default,
            schedules=dict(self.schedules),
            subgraphs=_subgraphs(self.schedules, self.denoisers, graphs),
            encode=None if self.encoder is None else graphs[self.encoder.file],
            condition=graphs[self.condition.file],
            decode=_decode(self.checkpoint, self.decoder, graphs, self.tile),
            networks=networks,
            blob=self._blob(folder),
            created_with=created_with,
        )

    def _blob(self, folder: Path) -> BlobRecord:
        read = self.denoisers[self.checkpoint.architecture.dense], self.condition, self.encoder
        return BlobRecord(
            file=BLOB,
            sha256=sha256_of(folder / BLOB),
            bytes=(folder / BLOB).stat().st_size,
            dense_bytes=self.weights.bytes_of(dict(ChainMap(*(piece.prefixes for piece in read if piece)))),
        )


def with_dense(checkpoint: Checkpoint, schedules: Mapping[str, Schedule], default: str) -> dict[str, Schedule]:
    """The schedules and the `dense` one; ScheduleError if that name is taken by a pruned schedule."""
    if default not in schedules:
        raise ScheduleError("no such default schedule", expected=f"one of {', '.join(schedules)}", found=default)
    dense = dense_schedule(checkpoint, schedules[default].sampler)
    given = schedules.get(DENSE, dense)
    if given.plans != dense.plans:
        raise ScheduleError(
            f"the name {DENSE} is kept for the schedule that prunes nothing",
            expected="another name",
            found=f"{given.cost.macs_removed:.1%} of MACs removed",
        )
    return {DENSE: dense, **schedules}


def _check_schedules(
    checkpoint: Checkpoint, schedules: Mapping[str, Schedule], calibration: Calibration | None
) -> CompensationMode:
    """The one compensation of all pruned schedules; ScheduleError if a schedule does not fit."""
    dense = checkpoint.architecture.dense
    modes: dict[CompensationMode, str] = {}
    for name, schedule in schedules.items():
        schedule.require_fit(checkpoint.identity, dense, checkpoint.train_timesteps)
        ordering = schedule.provenance.get("ordering")
        if calibration is not None and ordering not in (None, calibration.ordering_digest):
            raise ScheduleError(
                f"schedule {name} was searched on another ordering, so its prefixes mean other units",
                expected=f"ordering {ordering}",
                found=f"ordering {calibration.ordering_digest}",
                remedy=f"Give --calibration the {CALIBRATION_FILE} that the search left beside the schedule.",
            )
        if any(plan != dense for plan in schedule.plans):
            modes.setdefault(schedule.compensation, name)
    if len(modes) > 1:
        raise ScheduleError(
            "schedules of one bundle share their weights, so also their compensation",
            expected="one mode",
            found=", ".join(f"{mode} ({name})" for mode, name in modes.items()),
        )
    return next(iter(modes), "none")


def _subgraphs(
    schedules: Mapping[str, Schedule], denoisers: Mapping[StagePlan, Piece], graphs: Mapping[str, Graph]
) -> tuple[Subgraph, ...]:
    stages: dict[StagePlan, list[StageReference]] = defaultdict(list)
    for name, schedule in schedules.items():
        for index, stage in enumerate(schedule.stages):
            stages[stage.blocks].append(StageReference(schedule=name, stage=index))
    return tuple(
        Subgraph(id=subgraph_id(plan), plan=plan, stages=tuple(stages[plan]), **dict(graphs[piece.file]))
        for plan, piece in denoisers.items()
    )


def _write_tokenizers(folder: Path, checkpoint: Checkpoint) -> tuple[TokenizerFile, ...]:
    written = []
    for number, tokenizer in enumerate(checkpoint.tokenizers, 1):
        path = folder / f"tokenizer-{number}.json"
        write_text_atomically(path, tokenizer.document)
        written.append(TokenizerFile(file=path.name, sha256=sha256_of(path)))
    return tuple(written)


def _decode(checkpoint: Checkpoint, decoder: Piece | None, graphs: Mapping[str, Graph], tile: int | None) -> Decode:
    if decoder is None or checkpoint.vae_folder is None:
        return Decode(kind="pixels")
    return Decode(kind="vae", graph=graphs[decoder.file], config=read_config(checkpoint.vae_folder), tile=tile)


def _created_with(calibration: Calibration | None, error: float | None) -> dict[str, str]:
    made = {
        "diffes": diffes.__version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "opset": str(OPSET),
    }
    if calibration is not None:
        made["ordering"] = calibration.ordering_digest
    if error is not None:
        made["onnxruntime"] = onnxruntime.__version__
        made["verified_to"] = f"{error:.3g}"
    return made

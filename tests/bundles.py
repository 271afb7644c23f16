"""Bundles of the tiny model, as the exporter writes them."""

from collections.abc import Sequence
from pathlib import Path

from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.levels import LevelGrid
from diffes.presets import build_schedule
from diffes.pruning.calibration import Calibration
from diffes.schedule import CompensationMode, Sampler, Schedule
from export.job import export_bundle

SAMPLER = Sampler(class_name="DDIMScheduler", steps=20, guidance=1.5)
TEN_STAGES = ((0, 0), (1, 0), (2, 1), (1, 2), (3, 3), (2, 2), (0, 3), (3, 0), (1, 1), (0, 0))  # (heads, channels) level


def levels_schedule(
    checkpoint: Checkpoint, levels: Sequence[tuple[int, int]], compensation: CompensationMode = "none"
) -> Schedule:
    """One stage per (heads level, channels level), DDIM 20 steps."""
    grid = LevelGrid.of(checkpoint.architecture.dense)
    plans = [grid.plan(heads, channels) for heads, channels in levels]
    return build_schedule(checkpoint, SAMPLER, plans, compensation, {"made_by": "test"})


def export(
    checkpoint: Checkpoint,
    levels: Sequence[tuple[int, int]],
    calibration: Calibration,
    out: Path,
    compensation: CompensationMode = "none",
) -> Bundle:
    """A bundle of one schedule `mixed` beside `dense`."""
    schedule = levels_schedule(checkpoint, levels, compensation)
    return export_bundle(checkpoint, {"mixed": schedule}, "mixed", calibration, out)

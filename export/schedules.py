"""Schedules as the command line names them: `[NAME=]FILE`, `[NAME=]dense`, `[NAME=]uniform:SHARE`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from diffes.presets import dense_schedule, uniform_schedule, with_compensation
from diffes.pruning.mode import Compensation
from diffes.schedule import CompensationMode, Sampler, Schedule


@dataclass(frozen=True)
class Defaults:
    """What a specification leaves open. `compensation` None: a file keeps its own, uniform takes full."""

    sampler: Sampler
    stages: int = 10
    compensation: str | None = None


def default_sampler(checkpoint: Checkpoint, class_name: str | None, steps: int, guidance: float) -> Sampler:
    """The named sampler, or the checkpoint's own."""
    return Sampler(
        class_name=class_name or str(checkpoint.scheduler_config["_class_name"]), steps=steps, guidance=guidance
    )


def read_schedules(checkpoint: Checkpoint, texts: Sequence[str], defaults: Defaults) -> dict[str, Schedule]:
    """Name to schedule, in the order given; InvalidInput for a specification that means nothing."""
    if defaults.compensation is not None:
        _mode(defaults.compensation)  # wrong even where nothing is pruned
    schedules: dict[str, Schedule] = {}
    for text in texts:
        name, source = _named(text)
        if name in schedules:
            raise InvalidInput("schedule", expected="distinct names", found=f"{name} twice", remedy="Give NAME=...")
        schedules[name] = _read(source, checkpoint, defaults)
    if not schedules:
        raise InvalidInput("schedule", expected="FILE, dense or uniform:SHARE", found="none")
    return schedules


def _named(text: str) -> tuple[str, str]:
    """(name, specification); what has no name is called after itself."""
    name, given, source = text.partition("=")
    if given:
        return name, source
    if text.startswith("uniform:"):
        return text.replace(":", "-"), text
    return Path(text).stem, text


def _read(source: str, checkpoint: Checkpoint, defaults: Defaults) -> Schedule:
    if source == "dense":
        return dense_schedule(checkpoint, defaults.sampler)
    if source.startswith("uniform:"):
        share = _share(source.removeprefix("uniform:"))
        mode = _mode(defaults.compensation or "full")
        return uniform_schedule(checkpoint, defaults.sampler, share, defaults.stages, mode)
    schedule = Schedule.load(Path(source))
    if defaults.compensation is not None:
        schedule = with_compensation(checkpoint, schedule, _mode(defaults.compensation))
    return schedule


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput("schedule", expected="uniform:SHARE with SHARE in 0..1", found=f"uniform:{text}") from None


def _mode(text: str) -> CompensationMode:
    return str(Compensation.parse(text))

"""Schedules as the command line names them: `[NAME=]FILE`, `[NAME=]dense`, `[NAME=]uniform:SHARE`, and
`[NAME=]FRONT@SHARE`: of the Pareto front in a file `pareto.json`, the point of least error that removes SHARE.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from diffes.pareto import ParetoFront
from diffes.presets import dense_schedule, uniform_schedule, with_compensation
from diffes.pruning.mode import Compensation
from diffes.schedule import CompensationMode, Sampler, Schedule, steered


@dataclass(frozen=True)
class Defaults:
    """What a specification leaves open. `compensation` None: a file keeps its own, uniform takes full."""

    sampler: Sampler
    stages: int = 10
    compensation: str | None = None


def default_sampler(checkpoint: Checkpoint, class_name: str | None, steps: int, guidance: float) -> Sampler:
    """The named sampler, or the checkpoint's own; InvalidInput for a guidance that is none."""
    name = class_name or str(checkpoint.scheduler_config["_class_name"])
    try:
        return Sampler(class_name=name, steps=steps, guidance=steered(guidance))
    except ValueError as error:
        raise InvalidInput("guidance", expected="0, which is none, or 1 and more", found=guidance) from error


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
        raise InvalidInput("schedule", expected="FILE, FRONT@SHARE, dense or uniform:SHARE", found="none")
    return schedules


def _named(text: str) -> tuple[str, str]:
    """(name, specification); what has no name is called after itself."""
    name, given, source = text.partition("=")
    if given:
        return name, source
    if text.startswith("uniform:"):
        return text.replace(":", "-"), text
    front, share = _front_point(text)
    if share is not None:
        return f"{front.stem}-{share}", text
    return Path(text).stem, text


def _read(source: str, checkpoint: Checkpoint, defaults: Defaults) -> Schedule:
    if source == "dense":
        return dense_schedule(checkpoint, defaults.sampler)
    if source.startswith("uniform:"):
        share = _share(source.removeprefix("uniform:"), "uniform:SHARE", source)
        mode = _mode(defaults.compensation or "full")
        return uniform_schedule(checkpoint, defaults.sampler, share, defaults.stages, mode)
    schedule = _load(source)
    if defaults.compensation is not None:
        schedule = with_compensation(checkpoint, schedule, _mode(defaults.compensation))
    return schedule


def _load(source: str) -> Schedule:
    """The schedule of a file, or of a point of a front's file; InvalidInput for a front without a share."""
    path, share = _front_point(source)
    if share is not None:
        return ParetoFront.load(path).at(_share(share, "FRONT@SHARE", source)).schedule
    if ParetoFront.is_in(path):
        front = ParetoFront.load(path)
        raise InvalidInput(
            "schedule",
            expected=f"one point of the front: {source}@SHARE",
            found=f"a front that removes {', '.join(f'{point.removed:.3f}' for point in front.points)}",
            remedy=f"Take the point that removes at least a share of the {front.unit} at least error, such as"
            f" {source}@{front.shares[0]:g}.",
        )
    return Schedule.load(path)


def _front_point(text: str) -> tuple[Path, str | None]:
    """(file, SHARE) of FRONT@SHARE, (file, None) of a file; a file that is there may have an @ in its name."""
    file, at, share = text.rpartition("@")
    if not at or "/" in share or Path(text).exists():
        return Path(text), None
    return Path(file), share


def _share(text: str, form: str, found: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput("schedule", expected=f"{form} with SHARE in 0..1", found=found) from None


def _mode(text: str) -> CompensationMode:
    return str(Compensation.parse(text))

"""What `diffes export` was asked for, carried out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput, ScheduleError
from diffes.manifest import MANIFEST, DtypeName
from diffes.pruning.cache import calibration_for
from diffes.pruning.calibration import CALIBRATION_FILE, Calibration, CalibrationSpec
from diffes.pruning.data import looking_at
from diffes.pruning.mode import Compensation, OrderingKind
from diffes.pruning.spec import AUTO, read_damping
from diffes.schedule import Schedule
from diffes.sizes import Size
from diffes.verification import require_verified, verify
from export.job import export_bundle
from export.schedules import Defaults, default_sampler, read_schedules
from export.triton import bundle_folder, new_model, wrap_bundle

Progress = Callable[[str, float], None]

BUNDLE, TRITON = "bundle", "triton"
TARGETS = (BUNDLE, TRITON)


@dataclass(frozen=True)
class ExportRequest:
    """The command's options. `schedules` are as export/schedules.py reads them; the first is the default.

    `model` may be a bundle if the target is another: it is wrapped as it is.
    """

    model: Path
    schedules: tuple[str, ...]
    out: Path
    compensation: str | None = None
    sampler: str | None = None
    steps: int = 20
    guidance: float = 1.5
    stages: int = 10
    calibration: Path | None = None
    calibration_images: int | None = None
    calibration_data: Path | None = None
    prompts: Path | None = None
    sizes: tuple[str, ...] = ()
    decode_tile: int | None = None
    damping: str = AUTO
    device: str = "cpu"
    dtype: DtypeName = "float32"
    overwrite: bool = False
    verify: bool = False
    target: str = BUNDLE


def run_export(request: ExportRequest, progress: Progress = lambda _phase, _share: None) -> Bundle:
    """Open the model, make or read the schedules, calibrate if anything is pruned, and write the bundle.

    The bundle is `out`, or lies in what the target wraps around it.
    """
    if request.target not in TARGETS:
        raise InvalidInput("target", expected=f"one of {', '.join(TARGETS)}", found=request.target)
    if (request.model / MANIFEST).is_file():
        return _wrap(request)
    if not request.schedules:
        raise InvalidInput("schedule", expected="at least one", found="none")
    checkpoint = Checkpoint.open(request.model, request.prompts)
    sampler = default_sampler(checkpoint, request.sampler, request.steps, request.guidance)
    defaults = Defaults(sampler, request.stages, request.compensation)
    schedules = read_schedules(checkpoint, request.schedules, defaults)
    with _place(request) as folder:
        bundle = export_bundle(
            checkpoint,
            schedules,
            next(iter(schedules)),
            _calibration(checkpoint, schedules, request, progress),
            folder,
            dtype=request.dtype,
            overwrite=request.overwrite,
            sizes=[Size.read(text) for text in request.sizes],
            tile=request.decode_tile,
            check=(lambda written: _walk(written, progress)) if request.verify else (lambda _: None),
            progress=progress,
        )
    return bundle if request.target == BUNDLE else Bundle(bundle_folder(request.out), bundle.manifest)


def _walk(bundle: Bundle, progress: Progress) -> None:
    """Compare every subgraph with torch on real trajectories, on the backend that runs this type on a CPU."""
    name = "onnxruntime" if bundle.manifest.dtype == "float32" else "torch"
    backend = open_backend(name, bundle)
    try:
        require_verified(verify(bundle, backend, progress=lambda share: progress("verifying", share)), name)
    finally:
        backend.close()


def _place(request: ExportRequest) -> AbstractContextManager[Path]:
    """Where the bundle is written."""
    if request.target == BUNDLE:
        return nullcontext(request.out)
    return new_model(request.out, overwrite=request.overwrite)


def _wrap(request: ExportRequest) -> Bundle:
    """A bundle holds its schedules and weights; nothing about them can be asked for again."""
    given = {
        "schedule": request.schedules,
        "compensation": request.compensation,
        "sampler": request.sampler,
        "calibration": request.calibration,
        "calibration_images": request.calibration_images,
        "calibration_data": request.calibration_data,
        "prompts": request.prompts,
        "size": request.sizes,
        "decode_tile": request.decode_tile,
    }
    for name, value in given.items():
        if value:
            raise InvalidInput(
                name,
                expected=f"nothing: {request.model} is a bundle, which is exported as it is",
                found=value,
                remedy="Name a diffusers folder to make another bundle.",
            )
    if request.target == BUNDLE:
        raise InvalidInput("target", expected="another than bundle, which MODEL is already", found=request.target)
    return wrap_bundle(Bundle.open(request.model), request.out, overwrite=request.overwrite)


def _calibration(
    checkpoint: Checkpoint, schedules: Mapping[str, Schedule], request: ExportRequest, progress: Progress
) -> Calibration | None:
    """What pruning needs to know of the model; nothing if only the dense model is exported."""
    dense = checkpoint.architecture.dense
    pruned = {n: s for n, s in schedules.items() if any(plan != dense for plan in s.plans)}
    if not pruned:
        return None
    found = request.calibration or _beside(request.schedules)
    if found is not None:
        loaded = Calibration.load(found, checkpoint)
        searched = any("ordering" in schedule.provenance for schedule in pruned.values())
        return loaded if searched else loaded.ordered_by(_suited(pruned))
    spec = _common_spec(checkpoint, pruned, request)
    return calibration_for(
        checkpoint,
        spec,
        data=request.calibration_data,
        device=request.device,
        progress=lambda share: progress("calibrating", share),
    )


def _suited(schedules: Mapping[str, Schedule]) -> OrderingKind:
    """The ordering that suits the schedules' common compensation; export refuses them if there is none."""
    return Compensation.parse(next(iter(schedules.values())).compensation).ordering


def _beside(texts: Sequence[str]) -> Path | None:
    """The calibration that lies in the folder of a schedule file, where a search leaves it."""
    for text in texts:
        candidate = Path(text.rpartition("=")[2]).parent / CALIBRATION_FILE
        if candidate.exists():
            return candidate
    return None


def _common_spec(checkpoint: Checkpoint, schedules: Mapping[str, Schedule], request: ExportRequest) -> CalibrationSpec:
    """The one calibration of schedules that share a blob; a uniform schedule takes whichever there is.

    What the request says of calibration is for schedules that were not searched.
    """
    specs = {
        name: CalibrationSpec.from_json(schedule.provenance["calibration"])
        for name, schedule in schedules.items()
        if "calibration" in schedule.provenance
    }
    distinct = list(dict.fromkeys(specs.values()))
    if len(distinct) > 1:
        raise ScheduleError(
            "schedules over one blob must share one ordering",
            expected="one calibration",
            found=", ".join(f"{name}: {spec.images} images, seed {spec.seed}" for name, spec in specs.items()),
            remedy="Search them with the same calibration, or export them apart.",
        )
    if distinct:
        return distinct[0]
    spec = CalibrationSpec(
        next(iter(schedules.values())).sampler,
        images=request.calibration_images or CalibrationSpec.images,
        damping=read_damping(request.damping),
        ordering=_suited(schedules),
    )
    return looking_at(spec, checkpoint, request.calibration_data)

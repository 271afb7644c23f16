"""Networks to engines.

A network is parsed, given its profiles and built. Weights are inputs of it, so an engine holds kernels and no
weights, and building one reads no blob.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import EngineSpec, Profile
from diffes.errors import BackendError

Progress = Callable[[str, float], None]  # what is being done, and the share done


@dataclass(frozen=True)
class Prepared:
    """A network about to be built. `profiles` are TensorRT's own, in the spec's order."""

    spec: EngineSpec
    builder: Any
    network: Any
    config: Any
    profiles: tuple[Any, ...]
    log: list[str]  # errors of the builder


def prepare(package: Package, spec: EngineSpec) -> Prepared:
    """Parse the network and add its profiles; BackendError lists what the parser does not take."""
    log: list[str] = []
    logger = _logger(package, log)
    builder = package.module.Builder(logger)
    network = package.new_network(builder)
    _parse(package, network, logger, spec.network)
    config = builder.create_builder_config()
    config.clear_flag(package.module.BuilderFlag.TF32)  # on by default: float32 would be rounded without being asked
    profiles = tuple(_add_profile(builder, config, network, profile) for profile in spec.profiles)
    return Prepared(spec, builder, network, config, profiles, log)


def build(package: Package, spec: EngineSpec, progress: Progress = lambda _phase, _share: None) -> bytes:
    """The serialised engine; BackendError with the builder's own words if it fails."""
    prepared = prepare(package, spec)
    monitor = _monitor(package, lambda share: progress(f"building {spec.network.name}", share))
    prepared.config.progress_monitor = monitor
    plan = prepared.builder.build_serialized_network(prepared.network, prepared.config)
    if plan is None:
        raise BackendError(
            f"{package.name} {package.version} cannot build {spec.network.name}",
            expected=f"an engine of {len(spec.profiles)} profiles",
            found="; ".join(prepared.log) or "no reason given",
        )
    progress(f"building {spec.network.name}", 1.0)
    return bytes(memoryview(plan))


def _parse(package: Package, network: Any, logger: Any, path: Path) -> None:
    parser = package.module.OnnxParser(network, logger)
    if parser.parse(path.read_bytes()):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    found = "; ".join(f"{error.node_operator()} ({error.node_name()}): {error.desc()}" for error in errors)
    raise BackendError(
        f"{package.name} {package.version} cannot read {path.name}",
        expected="operators and an opset that its ONNX parser knows",
        found=found or "no reason given",
        remedy=f"Use a newer {package.name}, or another backend.",
    )


def _add_profile(builder: Any, config: Any, network: Any, wanted: Profile) -> Any:
    profile = builder.create_optimization_profile()
    try:
        for name, shape in wanted.shapes:
            profile.set_shape(name, shape, shape, shape)
        index = config.add_optimization_profile(profile)
    except (ValueError, TypeError) as error:
        raise _refused(wanted, network, error) from error
    if index < 0:
        raise _refused(wanted, network, "a profile the builder does not take")
    return profile


def _refused(wanted: Profile, network: Any, found: object) -> BackendError:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    free = {tensor.name: tuple(tensor.shape) for tensor in inputs if -1 in tuple(tensor.shape)}
    return BackendError(f"profile {wanted.graph} at {wanted.rows} rows does not fit", expected=free, found=found)


def _logger(package: Package, log: list[str]) -> Any:
    """TensorRT's messages: errors into `log`, the rest nowhere."""
    severity = package.module.ILogger.Severity

    class Logger(package.module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            package.module.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                log.append(message)

    return Logger()


def _monitor(package: Package, tell: Callable[[float], None]) -> Any:
    """Tells the share done of the outermost phase; TensorRT nests them, and knows the steps of each."""

    class Monitor(package.module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            package.module.IProgressMonitor.__init__(self)
            self.outermost: tuple[str, int] | None = None

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.outermost = (phase, max(steps, 1))

        def step_complete(self, phase: str, step: int) -> bool:
            if self.outermost is not None and phase == self.outermost[0]:
                tell(min(1.0, (step + 1) / self.outermost[1]))
            return True  # go on

        def phase_finish(self, phase: str) -> None:
            pass

    return Monitor()

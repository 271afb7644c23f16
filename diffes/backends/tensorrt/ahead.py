"""Build a bundle's engines before anything is served: on TensorRT-RTX on any machine, else on one like the server."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from diffes.backends.tensorrt.build import Progress
from diffes.backends.tensorrt.cache import EngineCache
from diffes.backends.tensorrt.gpu import open_gpu, target_of
from diffes.backends.tensorrt.package import Package, find_package
from diffes.backends.tensorrt.profiles import EngineSpec, batches_from, engine_specs
from diffes.bundle import Bundle


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in the cache; `seconds` is what it took to build, or to read if it was there."""

    spec: EngineSpec
    path: Path
    bytes: int
    seconds: float


def cache_for(device: str) -> EngineCache:
    """The cache that a server on this device reads; BackendError without the package, or without a GPU it needs.

    TensorRT-RTX needs none, and does not ask for one.
    """
    package: Package = find_package()
    gpu = None if package.is_rtx else open_gpu(device)
    return EngineCache.default(package, target_of(package, gpu))


def build_ahead(
    bundle: Bundle,
    cache: EngineCache,
    batches: tuple[int, ...] | None = None,
    progress: Progress = lambda _phase, _share: None,
) -> Iterator[BuiltEngine]:
    """Every engine of the bundle, one by one; BackendError if one cannot be built."""
    for spec in engine_specs(bundle, batches_from(None) if batches is None else batches):
        began = perf_counter()
        plan = cache.load(spec, progress)
        yield BuiltEngine(spec, cache.path(spec), len(plan), perf_counter() - began)

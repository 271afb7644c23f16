"""Engines can be built before anything is served, without a GPU where TensorRT-RTX is installed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffes.backends.tensorrt.ahead import build_ahead, cache_for
from diffes.backends.tensorrt.cache import EngineCache
from diffes.backends.tensorrt.package import Package
from diffes.bundle import Bundle
from diffes.cli import app
from diffes.errors import BackendError


def test_every_engine_is_in_the_cache_afterwards(cache: EngineCache, latent_bundle: Bundle) -> None:
    made = list(build_ahead(latent_bundle, cache, (2,)))
    assert [engine.spec.graphs for engine in made] == [
        (latent_bundle.manifest.subgraphs[0].file,),
        ("condition.onnx",),
        ("decode.onnx",),
    ]
    assert all(engine.path.stat().st_size > engine.bytes > 10_000 for engine in made)
    again = list(build_ahead(latent_bundle, cache, (2,)))
    assert [engine.path for engine in again] == [engine.path for engine in made]


def test_tensorrt_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffes.backends.tensorrt.ahead.find_package", lambda: Package("tensorrt", None))
    with pytest.raises(BackendError, match="expected a CUDA device"):
        cache_for("cpu")


def test_the_command_builds_and_says_what_it_built(
    rtx: Package, monkeypatch: pytest.MonkeyPatch, latent_bundle: Bundle, tmp_path: Path
) -> None:
    monkeypatch.setattr("diffes.backends.tensorrt.ahead.find_package", lambda: rtx)
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path))
    result = CliRunner().invoke(app, ["engines", str(latent_bundle.folder), "--batches", "2"])
    assert result.exit_code == 0, repr(result.exception)
    engines = sorted((tmp_path / "engines").glob("*.engine"))
    assert len(engines) == 3
    assert "network-" in result.output

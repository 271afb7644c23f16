"""The real builder where it is installed, and a cache of its own for every test."""

from pathlib import Path

import pytest

from diffes.backends.tensorrt.cache import EngineCache
from diffes.backends.tensorrt.gpu import PORTABLE
from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import EngineSpec, engine_specs
from diffes.bundle import Bundle
from tests import bundles


@pytest.fixture(scope="session")
def rtx() -> Package:
    """TensorRT-RTX, which builds without a GPU; tests skip where it is not installed."""
    return Package("tensorrt_rtx", pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed"))


@pytest.fixture
def cache(rtx: Package, tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines", rtx, PORTABLE)


@pytest.fixture(scope="session")
def specs(tiny_bundle: Bundle) -> tuple[EngineSpec, EngineSpec]:
    """The tiny bundle's engines at 2 and 8 rows: the denoisers', of nine plans, and the condition's."""
    denoisers, condition = engine_specs(tiny_bundle, (2, 8))
    return denoisers, condition


@pytest.fixture(scope="session")
def latent_bundle(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A dense bundle with a VAE."""
    return bundles.latent_bundle(tiny_model_folder, bundles.tiny_vae(), tmp_path_factory.mktemp("latent"))

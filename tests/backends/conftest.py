"""A tritonserver for all tests of backends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diffes.bundle import Bundle
from export.triton import Hosting, wrap_bundle
from tests.tritonserver import HOSTING, ROOT, Server


@pytest.fixture(scope="session")
def triton_server(
    start_triton: Callable[[Path], Server], tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """Hosts the tiny bundle, and beside it a model that cannot be loaded. Leave it running."""
    repository = tmp_path_factory.mktemp("triton") / "repository"
    wrap_bundle(tiny_bundle, repository, hosting=HOSTING)
    wrap_bundle(tiny_bundle, repository, hosting=Hosting(backend="abacus", python_path=str(ROOT)), model="broken")
    return start_triton(repository)

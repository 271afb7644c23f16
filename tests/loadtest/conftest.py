"""A real service, started once for all who ask it something."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.service import serve_bundle
from loadtest.target import Target

KEY = "0123456789abcdef"


@pytest.fixture(scope="session")
def target(tiny_bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The tiny bundle, served to who has the key."""
    settings = {"device": "cpu", "threads": "1", "api_keys": f"test:{KEY}"}
    service = serve_bundle(tiny_bundle_folder, tmp_path_factory.mktemp("service"), settings)
    try:
        service.wait_until_ready(90)
        yield Target(service.url, KEY, service=service, bundle=tiny_bundle_folder, log=service.log)
    finally:
        service.kill()

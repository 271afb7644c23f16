"""`bentoml serve` in the repository's root, as a user of a clone starts it."""

import os
import sys
from pathlib import Path

from loadtest.service import Service, free_port

__all__ = ["Service", "free_port", "start"]

ROOT = Path(__file__).parents[1]


def start(folder: Path, bundle: Path | None, **environment: str) -> Service:
    """On a free port, with a BENTOML_HOME of its own and no setting but these."""
    port = free_port()
    home = folder / "bentoml"
    home.mkdir(parents=True)
    settings = {"DIFFES_BUNDLE": str(bundle), "DIFFES_THREADS": "1"} if bundle else {}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("BENTOML_", "DIFFES_"))}
    return Service.launch(
        [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)],
        port,
        folder / "log",
        environment=clean | settings | {"BENTOML_HOME": str(home)} | environment,
        folder=ROOT,
    )

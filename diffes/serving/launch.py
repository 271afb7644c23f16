"""Start the service as `bentoml serve` from any folder."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from diffes.bundle import Bundle
from diffes.files import cache_folder

SERVICE = "diffes.serving.bento:Diffes"


def serve(
    bundle: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    backend: str = "onnxruntime",
    device: str = "cpu",
    threads: int | None = None,
) -> NoReturn:
    """Become `bentoml serve` on a bundle; BundleError first, if it is damaged."""
    Bundle.open(bundle)
    settings = {"BUNDLE": str(bundle.resolve()), "BACKEND": backend, "DEVICE": device}
    if threads is not None:
        settings["THREADS"] = str(threads)
    environment = os.environ | {f"DIFFES_{name}": value for name, value in settings.items()}
    home = server_home(host, port)
    arguments = command(host, port, home)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(arguments[0], arguments, environment | server_environment(home))


def command(host: str, port: int, home: Path) -> list[str]:
    """`bentoml serve` of the installed package; an empty working folder keeps stray modules out of its imports."""
    where = ["--host", host, "--port", str(port), "--working-dir", str(home)]
    return [sys.executable, "-P", "-m", "bentoml", "serve", SERVICE, *where]


def server_environment(home: Path) -> dict[str, str]:
    """What every server needs of its environment, whoever starts it: a home of its own, no telemetry."""
    return {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}


def server_home(host: str, port: int) -> Path:
    """BentoML keeps the metrics of all workers in its home and wipes them at start: one home per address."""
    home = cache_folder().absolute() / "servers" / f"{host.replace(':', '-')}-{port}"
    home.mkdir(parents=True, exist_ok=True)
    return home

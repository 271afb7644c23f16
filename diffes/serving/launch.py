"""Start the service as `bentoml serve` from any folder."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from diffes.bundle import Bundle
from diffes.files import cache_folder
from diffes.serving.config import PREFIX, config_file
from diffes.serving.settings import Settings

SERVICE = "diffes.serving.bento:Diffes"

_KEEP_ALIVE_SECONDS = 75  # uvicorn's 5 are httpx' too: a client asks on a connection in the moment it is closed


def serve(
    bundle: Path | None,
    *,
    config: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 3000,
    **options: object,
) -> NoReturn:
    """Become `bentoml serve`; what is wrong with settings or bundle is raised first.

    `options` are settings by name; what is None is left to the environment and the file.
    """
    _tell(bundle=bundle, config=config, **options)
    settings = Settings.from_environment()
    Bundle.open(settings.bundle)
    paths = {"bundle": settings.bundle, "config": config_file(), "api_keys_file": settings.api_keys_file}
    _tell(**{name: path.absolute() for name, path in paths.items() if path})  # workers run in another folder
    home = server_home(host, port)
    arguments = command(host, port, home)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(arguments[0], arguments, os.environ | server_environment(home))


def _tell(**settings: object) -> None:
    os.environ.update({f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items() if value is not None})


def command(host: str, port: int, home: Path) -> list[str]:
    """`bentoml serve` of the installed package; an empty working folder keeps stray modules out of its imports."""
    where = ["--host", host, "--port", str(port), "--working-dir", str(home)]
    keep = ["--timeout-keep-alive", str(_KEEP_ALIVE_SECONDS)]
    return [sys.executable, "-P", "-m", "bentoml", "serve", SERVICE, *where, *keep]


def server_environment(home: Path) -> dict[str, str]:
    """What every server needs of its environment, whoever starts it: a home of its own, no telemetry."""
    return {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}


def server_home(host: str, port: int) -> Path:
    """BentoML keeps the metrics of all workers in its home and wipes them at start: one home per address."""
    home = cache_folder().absolute() / "servers" / f"{host.replace(':', '-')}-{port}"
    home.mkdir(parents=True, exist_ok=True)
    return home

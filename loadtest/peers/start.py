"""A peer as a process of ours."""

import os
import sys
from pathlib import Path
from typing import Literal

from diffes.errors import LoadTestError
from diffes.serving.launch import server_environment
from loadtest.service import Service, free_port

PeerName = Literal["fastapi", "bentoml"]
PEERS: tuple[PeerName, ...] = ("fastapi", "bentoml")

_OURS = ("PEER_", "BENTOML_")  # of the environment: nothing is left to chance
_KEEP_ALIVE_SECONDS = 75  # uvicorn's 5 are httpx' too: a client asks on a connection in the moment it is closed
_GRACE_SECONDS = 30


def start_peer(
    name: PeerName,
    model: Path,
    folder: Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    compiled: bool = False,
    steps: int = 20,
    guidance: float = 1.5,
) -> Service:
    """Start a peer that serves a diffusers folder at a free port, its log in `folder`; it is not waited for.

    `steps` and `guidance` are of requests that name none. LoadTestError for a folder that holds no model.
    """
    if not (model / "model_index.json").is_file():
        raise LoadTestError(f"{model} holds no model", expected="a diffusers folder", found="no model_index.json")
    port, home = free_port(), folder.absolute() / "bentoml"
    home.mkdir(parents=True, exist_ok=True)
    told = {"model": model.absolute(), "device": device, "dtype": dtype, "compiled": compiled}
    told |= {"steps": steps, "guidance": guidance} | ({} if threads is None else {"threads": threads})
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
    environment |= {f"PEER_{key.upper()}": str(value) for key, value in told.items()} | server_environment(home)
    return Service.launch(_command(name, port, home), port, folder / "service.log", environment=environment)


def _command(name: PeerName, port: int, home: Path) -> list[str]:
    run = [sys.executable, "-P", "-m"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    if name == "fastapi":
        return [*run, "loadtest.peers.fastapi_service", *where]
    graces = ["--timeout-keep-alive", str(_KEEP_ALIVE_SECONDS), "--timeout-graceful-shutdown", str(_GRACE_SECONDS)]
    service = "loadtest.peers.bentoml_service:Diffusers"
    return [*run, "bentoml", "serve", service, *where, "--working-dir", str(home), *graces]

"""The `model.py` of a Triton repository: hands what Triton's Python backend receives to Diffes.

Triton's own process imports it, not Diffes.
"""

import json
import logging
import os
import site
import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

logger = logging.getLogger(__name__)


class TritonPythonModel:
    """What Triton calls. One instance holds the bundle's one blob for all stages."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle in this version's folder as config.pbtxt's parameters say."""
        entries = json.loads(args["model_config"])["parameters"]
        settings = {name: entry["string_value"] for name, entry in entries.items()}
        _put_first(settings.get("python_path", ""))
        try:
            from torch.utils.dlpack import from_dlpack

            from diffes.backends.remote.host import Host
        except ModuleNotFoundError as error:
            raise pb_utils.TritonModelException(
                f"{error} in the Python of this server ({sys.prefix}). Start tritonserver with the environment that has"
                " Diffes first on PATH, or set the parameter python_path in config.pbtxt."
            ) from error
        self._from_dlpack = from_dlpack
        self._host = Host.open(Path(args["model_repository"]) / args["model_version"] / "bundle", settings)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; one that fails leaves the others and the server alone."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """Free the backend."""
        self._host.close()

    def _respond(self, request: Any) -> Any:
        # DLPack both ways: bindings built for numpy 1 give arrays without strides, and take empty ones, under numpy 2
        try:
            answer = self._host.answer({tensor.name(): self._from_dlpack(tensor) for tensor in request.inputs()})
            return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(*output) for output in answer.items()])
        except Exception as error:
            logger.exception("a call failed")
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{type(error).__name__}: {error}"))


def _put_first(folders: str) -> None:
    """Put folders first on sys.path, with the .pth files in them: the backend's stub does not read PYTHONPATH."""
    known = list(sys.path)
    for folder in filter(None, folders.split(os.pathsep)):
        site.addsitedir(folder)
    sys.path[:] = [path for path in sys.path if path not in known] + known

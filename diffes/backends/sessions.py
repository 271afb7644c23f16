"""ONNX Runtime sessions that share one mapped blob."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from diffes.errors import BackendError, OutOfMemory

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_NO_ROOM = re.compile(r"bad_alloc|[Ff]ailed to allocate memory|out of memory")
ERRORS_ONLY = 3  # ONNX Runtime's log severity


def provider_for(device: str) -> str:
    """The execution provider of a device; BackendError if this installation lacks it."""
    kind = device.partition(":")[0]
    if kind not in _PROVIDERS:
        raise BackendError("onnxruntime has no such device", expected=f"one of {', '.join(_PROVIDERS)}", found=device)
    provider = _PROVIDERS[kind]
    offered = onnxruntime.get_available_providers()
    if provider not in offered:
        raise BackendError(f"this onnxruntime cannot run on {kind}", expected=provider, found=", ".join(offered))
    if kind == "cuda":
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)  # it warns of plugins that it does not need
        onnxruntime.preload_dlls()  # CUDA's libraries as torch brings them; without, a session falls back to the CPU
    return provider


@cache
def _share_arena() -> None:
    """One CPU arena for all sessions of the process: only one graph runs at a time, so they need not keep ten."""
    onnxruntime.create_and_register_allocator(*arena("Cpu", 0))


def arena(kind: str, index: int) -> tuple[Any, Any]:
    """An arena's place and growth, as ONNX Runtime registers them: by what is asked for, not by doubling."""
    place = onnxruntime.OrtMemoryInfo(
        kind, onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, index, onnxruntime.OrtMemType.DEFAULT
    )
    return place, onnxruntime.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": 1})


def open_session(path: Path, device: str, threads: int | None) -> Any:
    """A session on `device` with `threads` threads (None: one per core); BackendError if it would run elsewhere.

    Prepacking is off: it would copy every weight into memory of this session alone, where the blob's mapped pages
    serve all sessions.
    """
    provider = provider_for(device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")
    # each session has its own threads: they may spin between operators, but not on against the next stage's
    options.add_session_config_entry("session.force_spinning_stop", "1")
    _share_arena()
    _, _, index = device.partition(":")
    return start_session(str(path), path, options, (provider, {"device_id": index} if index else {}))


def start_session(model: str | bytes, path: Path, options: Any, provider: tuple[str, dict[str, str]]) -> Any:
    """A session of the model, a file or its bytes, that came from `path`; BackendError if it would run elsewhere.

    Asked for a provider it cannot start, ONNX Runtime runs on CPU and says so only in its log.
    """
    name, _ = provider
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise BackendError(f"onnxruntime cannot load {path.name}", expected=name, found=str(error)) from error
    if session.get_providers()[0] != name:
        raise BackendError(f"{path.name} would run elsewhere", expected=name, found=", ".join(session.get_providers()))
    return session


def run_session(session: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """The session's outputs on CPU; inputs are moved there. OutOfMemory if there is no room for what it calculates."""
    feeds = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in inputs.items()}
    with memory_errors():
        return [torch.from_numpy(output) for output in session.run(None, feeds)]


def own_memory(tensor: Tensor) -> Any:
    """The tensor's own memory as ONNX Runtime's value; it must outlive whoever reads it."""
    native = onnxruntime.capi._pybind_state.OrtValue.from_dlpack(tensor.__dlpack__(), False)
    return onnxruntime.OrtValue(native)


@contextmanager
def memory_errors() -> Iterator[None]:
    """OutOfMemory in place of ONNX Runtime's own errors, which say it in words alone."""
    try:
        yield
    except Exception as error:
        if _NO_ROOM.search(str(error)):
            raise OutOfMemory("onnxruntime is out of memory", expected="room for a call", found=str(error)) from error
        raise

"""What executes subgraphs: one class per runtime behind one protocol."""

from collections.abc import Callable

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.errors import BackendError


def _onnxruntime(bundle: Bundle, device: str, threads: int | None) -> Backend:
    if device.startswith("cuda"):
        from diffes.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

        return OnnxRuntimeCudaBackend(bundle, device)
    from diffes.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, device, threads)


def _torch(bundle: Bundle, device: str, threads: int | None) -> Backend:
    from diffes.backends.torch import TorchBackend

    return TorchBackend(bundle, device, threads)


def _triton(bundle: Bundle, device: str, threads: int | None) -> Backend:
    from diffes.backends.triton import TritonBackend

    return TritonBackend(bundle, device, threads)


def _tensorrt(bundle: Bundle, device: str, _threads: int | None) -> Backend:
    from diffes.backends.tensorrt.backend import TensorRTBackend

    return TensorRTBackend(bundle, device)


# a runtime is imported when it is asked for
_BACKENDS: dict[str, Callable[[Bundle, str, int | None], Backend]] = {
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "triton": _triton,
    "tensorrt": _tensorrt,
}
BACKENDS = tuple(_BACKENDS)
LOCAL_BACKENDS = ("onnxruntime", "torch")  # those that need nothing but this process


def open_backend(name: str, bundle: Bundle, device: str = "cpu", threads: int | None = None) -> Backend:
    """The named backend with every graph of `bundle` loaded on `device`; `threads` None: as many as cores.

    The device of triton is its server's address.
    BackendError for a name or device there is none of.
    """
    if name not in _BACKENDS:
        raise BackendError("unknown backend", expected=f"one of {', '.join(BACKENDS)}", found=name)
    return _BACKENDS[name](bundle, device, threads)


__all__ = ["BACKENDS", "LOCAL_BACKENDS", "Backend", "open_backend"]

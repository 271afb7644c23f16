"""The GPU that engines run on, as torch knows it; refused at start if they do not run there."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from diffes.backends.tensorrt.package import Package
from diffes.errors import BackendError

PORTABLE = "portable"  # the target of engines that run on every GPU their package supports


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine, its name and compute capability."""

    device: torch.device
    name: str
    capability: tuple[int, int]

    def stream(self) -> int:
        """torch's current stream on this GPU, as a handle: work goes there, in order with torch's own."""
        return int(torch.cuda.current_stream(self.device).cuda_stream)

    def active(self) -> AbstractContextManager[object]:
        """Make it the current GPU, which TensorRT works on."""
        return torch.cuda.device(self.device)

    def synchronize(self) -> None:
        """Wait for all work on the current stream."""
        torch.cuda.current_stream(self.device).synchronize()


def open_gpu(name: str) -> Gpu:
    """The GPU of a torch device such as `cuda` or `cuda:1`; BackendError if this machine has none of that name."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _no_gpu(name) from error
    if device.type != "cuda":
        raise _no_gpu(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = torch.cuda.current_device() if device.index is None and count else device.index or 0
    if index >= count:
        raise _no_gpu(f"{name} on a machine with {count} CUDA GPUs that torch {torch.__version__} can use")
    capability = torch.cuda.get_device_capability(index)
    return Gpu(torch.device("cuda", index), torch.cuda.get_device_name(index), capability)


def require_supported(gpu: Gpu, package: Package) -> None:
    """BackendError unless engines of this package run on this GPU."""
    if package.runs_on(gpu.capability):
        return
    major, minor = gpu.capability
    raise BackendError(
        f"engines of {package.name} {package.version} do not run on this GPU",
        expected=f"compute capability {package.capabilities}",
        found=f"{gpu.name} of compute capability {major}.{minor}",
        remedy="Install the package tensorrt, which runs on GPUs of data centres, or use another backend.",
    )


def target_of(package: Package, gpu: Gpu | None) -> str:
    """The kind of GPU that engines built now are for; BackendError if TensorRT, which builds on a GPU, has none."""
    if package.is_rtx:
        return PORTABLE
    if gpu is None:
        raise BackendError(
            f"{package.name} builds an engine on the GPU that will run it",
            expected="a CUDA device",
            found="none",
            remedy="Build on the machine that serves, or install tensorrt-rtx-cu13, which builds without a GPU.",
        )
    return f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}"


def _no_gpu(found: str) -> BackendError:
    return BackendError(
        "TensorRT has no such device",
        expected="a CUDA device such as cuda or cuda:1",
        found=found,
        remedy="Give --device cuda on a machine with an NVIDIA GPU; on a CPU, use the backend onnxruntime or torch.",
    )

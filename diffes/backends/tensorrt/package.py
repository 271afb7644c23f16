"""The installed TensorRT: `tensorrt`, or `tensorrt_rtx` for the GPUs of workstations. Where they differ, it is here.

They share one Python interface. TensorRT builds on the GPU that will run the engine and for that kind of GPU;
TensorRT-RTX needs no GPU to build, and its engines run on several kinds.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from diffes.errors import BackendError

NAMES = ("tensorrt", "tensorrt_rtx")  # the first that is installed is taken
# What TensorRT-RTX builds for unless it is asked for more: NVIDIA's documentation of TensorRT-RTX, page "CPU-Only AOT
# and TensorRT-RTX Engines", section on compute capability.
_RTX_CAPABILITIES = ((8, 0), (8, 6), (8, 9))
_RTX_LATER = (12, 0)


@dataclass(frozen=True)
class Package:
    """One of the two, imported."""

    name: str
    module: Any

    @property
    def version(self) -> str:
        """The package's own; engines of one version are read by no other."""
        return str(self.module.__version__)

    @property
    def is_rtx(self) -> bool:
        """Whether this is TensorRT-RTX."""
        return self.name == "tensorrt_rtx"

    def runs_on(self, capability: tuple[int, int]) -> bool:
        """Whether its engines run on GPUs of this compute capability; TensorRT's run on whatever it builds on."""
        return not self.is_rtx or capability in _RTX_CAPABILITIES or capability >= _RTX_LATER

    @property
    def capabilities(self) -> str:
        """The compute capabilities its engines run on, in words."""
        if not self.is_rtx:
            return "any that TensorRT supports"
        return ", ".join(f"{major}.{minor}" for major, minor in (*_RTX_CAPABILITIES, _RTX_LATER)) + " or later"

    def new_network(self, builder: Any) -> Any:
        """An empty network in which every tensor has the type that the graph gives it."""
        # TensorRT 11 knows no other kind, and may know no flag for it
        flags = self.module.NetworkDefinitionCreationFlag.__members__
        return builder.create_network(1 << int(flags["STRONGLY_TYPED"]) if "STRONGLY_TYPED" in flags else 0)

    def new_context(self, engine: Any) -> Any:
        """An execution context whose scratch memory is the caller's; on RTX its kernels are compiled at once."""
        managed = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self.is_rtx:
            return engine.create_execution_context(managed)
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(managed)
        # lazily they would be compiled beside the first requests, which generic kernels serve meanwhile
        config.dynamic_shapes_kernel_specialization_strategy = (
            self.module.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        return engine.create_execution_context(config)


def find_package() -> Package:
    """The installed package; BackendError if there is none, or one that cannot be imported."""
    for name in NAMES:
        try:
            return Package(name, import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise _broken(name, error) from error
        except (ImportError, OSError, RuntimeError) as error:  # a library of it, or of CUDA, is missing
            raise _broken(name, error) from error
    raise BackendError(
        "TensorRT is not installed",
        expected=f"one of the Python packages {', '.join(NAMES)}",
        found="neither",
        remedy="Install tensorrt (GPUs of data centres) or tensorrt-rtx-cu13 (RTX and workstation GPUs).",
    )


def _broken(name: str, error: Exception) -> BackendError:
    return BackendError(
        f"{name} is installed but cannot be imported",
        expected="the package with its libraries",
        found=error,
        remedy=f"Install {name} anew, or remove it.",
    )

"""What a runtime raised, as the engine tells it."""

import torch

from diffes.errors import EngineError, FailureReason, OutOfMemory


def is_out_of_memory(error: Exception) -> bool:
    """Whether a smaller batch may do. PyTorch has an error of its own for GPUs, but words alone for a CPU."""
    known = isinstance(error, (OutOfMemory, MemoryError, torch.OutOfMemoryError))
    return known or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))


def failure(what: str, error: Exception, reason: FailureReason) -> EngineError:
    """What the requests that were part of it end with; `reason` is where, unless memory was short."""
    reason = "out_of_memory" if is_out_of_memory(error) else reason
    told = EngineError(what, reason=reason, expected="an output", found=f"{type(error).__name__}: {error}")
    told.__cause__ = error
    return told

"""ONNX Runtime's C interface for custom operators, whose kernels here are Python functions.

A function launches GPU kernels and returns; where a step is replayed as a CUDA graph it runs when that is recorded, and
never again. The only thing that cannot be written in Python is a shared library's entry point: four lines of C,
compiled by the compiler that Triton needs too.

The interface only ever grows (onnxruntime_c_api.cc, "Rules on how to add a new Ort API version"): functions are known
by their places in its table, the structure by the order of its fields.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffes.errors import BackendError
from diffes.files import atomic_path, cache_folder

DOMAIN = "diffes"
_VERSION = 16  # of the interface: the first whose kernels can say why they fail
_PLACES = {
    "CreateStatus": 0,
    "GetErrorMessage": 2,
    "CreateCustomOpDomain": 26,
    "CustomOpDomain_Add": 27,
    "AddCustomOpDomain": 28,
    "GetTensorMutableData": 51,
    "GetTensorElementType": 60,
    "GetDimensionsCount": 61,
    "GetDimensions": 62,
    "GetTensorTypeAndShape": 65,
    "KernelInfoGetAttribute_float": 85,
    "KernelInfoGetAttribute_int64": 86,
    "KernelContext_GetInput": 90,
    "KernelContext_GetOutput": 91,
    "ReleaseStatus": 93,
    "ReleaseTensorTypeAndShapeInfo": 99,
}
_FIELDS = [
    "CreateKernel",
    "GetName",
    "GetExecutionProviderType",
    "GetInputType",
    "GetInputTypeCount",
    "GetOutputType",
    "GetOutputTypeCount",
    "KernelCompute",
    "KernelDestroy",
    "GetInputCharacteristic",
    "GetOutputCharacteristic",
    "GetInputMemoryType",
    "GetVariadicInputMinArity",
    "GetVariadicInputHomogeneity",
    "GetVariadicOutputMinArity",
    "GetVariadicOutputHomogeneity",
    "CreateKernelV2",
    "KernelComputeV2",
    "InferOutputShapeFn",
    "GetStartVersion",
    "GetEndVersion",
    "GetMayInplace",
    "ReleaseMayInplace",
    "GetAliasMap",
    "ReleaseAliasMap",
]
_ENTRY = b"""
typedef void *(*hook_t)(void *, const void *);
static hook_t hook;
void diffes_hook(hook_t given) { hook = given; }
void *RegisterCustomOps(void *options, const void *base) { return hook(options, base); }
"""
_FAILED = 1  # ONNX Runtime's error code for anything that is not more special
_TYPES = {torch.float32: 1, torch.float16: 10, torch.bfloat16: 16}  # as ONNX numbers them

_Pointer, _Size, _Int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
Attributes = Mapping[str, float]
Outputs = Callable[[int, Sequence[int]], Tensor]  # number and shape of an output → its memory
Compute = Callable[[Sequence[Tensor], Attributes, Outputs], None]


@dataclass(frozen=True)
class Operator:
    """`name` of DOMAIN: tensors of one type on one device, numbers as attributes (`integers` and `floats`)."""

    name: str
    inputs: int
    outputs: int
    compute: Compute
    integers: Sequence[str] = ()
    floats: Sequence[str] = ()


class _OrtCustomOp(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), *((name, _Pointer) for name in _FIELDS)]


class _OrtApiBase(ctypes.Structure):
    _fields_ = [("GetApi", ctypes.CFUNCTYPE(_Pointer, ctypes.c_uint32)), ("GetVersionString", _Pointer)]


_registered: list["Library"] = []  # for the life of the process: nobody says when the last session is gone


@dataclass(eq=False)
class Library:
    """Operators for one type and device, as ONNX Runtime takes them."""

    operators: Sequence[Operator]
    dtype: torch.dtype
    device: torch.device
    stream: torch.cuda.Stream | None = None  # on which the sessions run
    _api: Any = None
    _kernels: list[Attributes] = field(default_factory=list)
    _kept: list[Any] = field(default_factory=list)
    _structures: list[_OrtCustomOp] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._structures = [self._structure(operator) for operator in self.operators]

    def register(self, options: Any) -> None:
        """Make the operators known to sessions of these SessionOptions; BackendError without a C compiler."""
        path = _entry()
        if self not in _registered:
            _registered.append(self)
        hook = ctypes.CFUNCTYPE(_Pointer, _Pointer, ctypes.POINTER(_OrtApiBase))(self._add_to)
        self._kept.append(hook)
        ctypes.CDLL(str(path)).diffes_hook(hook)
        options.register_custom_ops_library(str(path))

    def _add_to(self, options: int, base: Any) -> int | None:
        """Called while they register; a status, which is an error, or none."""
        self._api = ctypes.cast(base.contents.GetApi(_VERSION), ctypes.POINTER(_Pointer))
        domain, name = _Pointer(), DOMAIN.encode()
        self._kept.append(name)
        status = self._call("CreateCustomOpDomain", name, ctypes.byref(domain))
        for structure in self._structures:
            status = status or self._call("CustomOpDomain_Add", domain, ctypes.byref(structure))
        return status or self._call("AddCustomOpDomain", _Pointer(options), domain)

    def _call(self, name: str, *arguments: Any) -> int | None:
        """What a function of the interface returns: a status, which is an error, or none."""
        types = [type(each) if isinstance(each, ctypes._SimpleCData) else _Pointer for each in arguments]
        status: int | None = ctypes.CFUNCTYPE(_Pointer, *types)(self._api[_PLACES[name]])(*arguments)
        return status

    def _must(self, name: str, *arguments: Any) -> None:
        """Call what must succeed; RuntimeError in ONNX Runtime's words if it does not."""
        status = self._call(name, *arguments)
        if status is not None:
            said = ctypes.string_at(self._call("GetErrorMessage", _Pointer(status)) or b"").decode()
            self._call("ReleaseStatus", _Pointer(status))
            raise RuntimeError(f"{name}: {said}")

    def _structure(self, operator: Operator) -> _OrtCustomOp:
        """What ONNX Runtime asks of an operator, each a function that it calls."""
        name, provider = (
            ctypes.create_string_buffer(text) for text in (operator.name.encode(), b"CUDAExecutionProvider")
        )
        where = ctypes.addressof(provider) if self.device.type == "cuda" else None  # none is the CPU
        kind = _TYPES[self.dtype]
        plain: dict[str, tuple[Any, int | None]] = {
            "GetName": (_Pointer, ctypes.addressof(name)),
            "GetExecutionProviderType": (_Pointer, where),
            "GetInputTypeCount": (_Size, operator.inputs),
            "GetOutputTypeCount": (_Size, operator.outputs),
            "GetStartVersion": (_Int, 1),
            "GetEndVersion": (_Int, 2**31 - 1),
            "KernelDestroy": (None, None),
        }
        of_each = {"GetInputType": kind, "GetOutputType": kind}  # of each input or output by its number
        of_each |= dict.fromkeys(("GetInputCharacteristic", "GetOutputCharacteristic", "GetInputMemoryType"), 0)
        structure = _OrtCustomOp(version=_VERSION)
        for what, (result, value) in plain.items():
            self._put(structure, what, result, [_Pointer], lambda _, value=value: value)
        for what, number in of_each.items():
            self._put(structure, what, _Int, [_Pointer, _Size], lambda _, _at, number=number: number)
        create = partial(self._create, operator)
        self._put(structure, "CreateKernelV2", _Pointer, [_Pointer] * 3 + [ctypes.POINTER(_Pointer)], create)
        self._put(structure, "KernelComputeV2", _Pointer, [_Pointer] * 2, partial(self._compute, operator))
        self._kept += [name, provider]
        return structure

    def _put(
        self, structure: _OrtCustomOp, what: str, result: Any, types: Sequence[Any], function: Callable[..., Any]
    ) -> None:
        callback = ctypes.CFUNCTYPE(result, *types)(function)
        self._kept.append(callback)
        setattr(structure, what, ctypes.cast(callback, _Pointer))

    def _create(self, operator: Operator, _structure: int, _api: int, info: int, handle: Any) -> int | None:
        found: dict[str, float] = {}
        wanted: list[tuple[str, str, Any]] = [(name, "int64", ctypes.c_int64()) for name in operator.integers]
        wanted += [(name, "float", ctypes.c_float()) for name in operator.floats]
        for name, kind, value in wanted:
            status = self._call(f"KernelInfoGetAttribute_{kind}", _Pointer(info), name.encode(), ctypes.byref(value))
            if status is not None:
                return status
            found[name] = value.value
        self._kernels.append(found)
        handle[0] = len(self._kernels)  # anything but null
        return None

    def _compute(self, operator: Operator, kernel: int, context: int) -> int | None:
        try:
            with torch.inference_mode(), torch.cuda.stream(self.stream):  # None is no stream
                inputs = [self._input(context, at) for at in range(operator.inputs)]
                operator.compute(inputs, self._kernels[kernel - 1], lambda at, shape: self._output(context, at, shape))
        except Exception as error:  # noqa: BLE001 - none may pass through C; ONNX Runtime raises it again
            return self._call("CreateStatus", _Int(_FAILED), f"{operator.name}: {error}".encode())
        return None

    def _input(self, context: int, at: int) -> Tensor:
        value = _Pointer()
        self._must("KernelContext_GetInput", _Pointer(context), _Size(at), ctypes.byref(value))
        info, count = _Pointer(), _Size()
        self._must("GetTensorTypeAndShape", value, ctypes.byref(info))
        self._must("GetDimensionsCount", info, ctypes.byref(count))
        shape = (ctypes.c_int64 * count.value)()
        self._must("GetDimensions", info, shape, count)
        self._call("ReleaseTensorTypeAndShapeInfo", info)
        return self._tensor(value, list(shape))

    def _output(self, context: int, at: int, shape: Sequence[int]) -> Tensor:
        value = _Pointer()
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        self._must(
            "KernelContext_GetOutput", _Pointer(context), _Size(at), sizes, _Size(len(shape)), ctypes.byref(value)
        )
        return self._tensor(value, shape)

    def _tensor(self, value: ctypes.c_void_p, shape: Sequence[int]) -> Tensor:
        if value.value is None:  # which ONNX Runtime gives for what a node has not, and would crash on
            raise RuntimeError("an input or output that the node has not")
        address = _Pointer()
        self._must("GetTensorMutableData", value, ctypes.byref(address))
        return tensor_at(address.value or 0, shape, self.dtype, self.device)


class _Memory:
    """Numbers of 16 or 32 bits at a GPU's address, as the CUDA array interface tells them."""

    def __init__(self, address: int, shape: Sequence[int], width: int) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": tuple(shape),
            "typestr": f"<i{width}",
            "strides": None,
            "version": 3,
        }


def tensor_at(address: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory that somebody else owns as a tensor."""
    if not prod(shape):
        return torch.empty(*shape, dtype=dtype, device=device)
    if device.type == "cuda":
        return torch.as_tensor(_Memory(address, shape, dtype.itemsize), device=device).view(dtype)
    buffer = (ctypes.c_char * (prod(shape) * dtype.itemsize)).from_address(address)
    return torch.frombuffer(buffer, dtype=dtype).view(*shape)


@cache
def _entry() -> Path:
    """The shared library in the user's cache; BackendError if it is not there and cannot be compiled."""
    path = cache_folder() / "operators" / f"entry-{sha256(_ENTRY).hexdigest()[:12]}.so"
    if path.exists():
        return path
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BackendError(
            "onnxruntime's custom operators need a C compiler, once",
            expected="cc, gcc or clang on the PATH, or CC",
            found="none",
            remedy="Install one (apt-get install gcc), or use --backend torch.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as made:
        command = [compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(made)]
        done = subprocess.run(command, input=_ENTRY, capture_output=True, check=False)
        if done.returncode:
            raise BackendError(
                "the C compiler failed", expected=f"{compiler} to work", found=done.stderr.decode().strip()
            )
    return path

"""A GPU that is not there, or that engines do not run on, is refused by name."""

import pytest
import torch

from diffes.backends.tensorrt.gpu import PORTABLE, Gpu, open_gpu, require_supported, target_of
from diffes.backends.tensorrt.package import Package
from diffes.errors import BackendError

RTX, DATA_CENTER = Package("tensorrt_rtx", None), Package("tensorrt", None)


class Version:
    __version__ = "1.7"


def gpu(name: str, major: int, minor: int) -> Gpu:
    return Gpu(torch.device("cuda", 0), name, (major, minor))


@pytest.mark.parametrize("name", ["cpu", "abacus", "mps"])
def test_a_device_that_is_no_cuda_gpu(name: str) -> None:
    with pytest.raises(BackendError, match=f"expected a CUDA device such as cuda or cuda:1, found {name}"):
        open_gpu(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_says_so() -> None:
    with pytest.raises(BackendError, match="found cuda:1 on a machine with 0 CUDA GPUs.*onnxruntime or torch"):
        open_gpu("cuda:1")


@pytest.mark.parametrize(("major", "minor"), [(9, 0), (10, 0), (7, 5), (6, 1)])
def test_rtx_engines_on_other_gpus(major: int, minor: int) -> None:
    package = Package("tensorrt_rtx", Version)
    expected = r"expected compute capability 8\.0, 8\.6, 8\.9, 12\.0 or later, "
    with pytest.raises(BackendError, match=expected + rf"found Some GPU of compute capability {major}\.{minor}"):
        require_supported(gpu("Some GPU", major, minor), package)


@pytest.mark.parametrize(("major", "minor"), [(8, 0), (8, 6), (8, 9), (12, 0), (12, 1)])
def test_rtx_engines_where_they_run(major: int, minor: int) -> None:
    require_supported(gpu("Some GPU", major, minor), RTX)


def test_tensorrt_is_asked_only_when_it_builds() -> None:
    require_supported(gpu("A large GPU", 9, 0), DATA_CENTER)


def test_rtx_engines_are_for_every_gpu_and_tensorrts_for_one_kind() -> None:
    assert target_of(RTX, None) == target_of(RTX, gpu("Some GPU", 8, 9)) == PORTABLE
    assert target_of(DATA_CENTER, gpu("A large GPU", 9, 0)) == "A large GPU, compute capability 9.0"
    assert target_of(DATA_CENTER, gpu("Another", 9, 0)) != target_of(DATA_CENTER, gpu("A large GPU", 9, 0))


def test_tensorrt_needs_a_gpu_to_build() -> None:
    with pytest.raises(BackendError, match="builds an engine on the GPU.*tensorrt-rtx-cu13"):
        target_of(DATA_CENTER, None)

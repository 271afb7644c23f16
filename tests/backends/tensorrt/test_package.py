"""Whichever package is installed is used, tensorrt first; what is broken is not passed over."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffes.backends.tensorrt.package import NAMES, Package, find_package
from diffes.errors import BackendError


def installed(monkeypatch: pytest.MonkeyPatch, **modules: object) -> None:
    """Make these the only ones that can be imported."""
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, modules.get(name))  # None: as if it were not there


def test_tensorrt_is_taken_where_both_are(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = SimpleNamespace(__version__="11.4"), SimpleNamespace(__version__="1.7")
    installed(monkeypatch, tensorrt=large, tensorrt_rtx=small)
    assert find_package() == Package("tensorrt", large)
    assert find_package().version == "11.4"
    installed(monkeypatch, tensorrt_rtx=small)
    assert find_package() == Package("tensorrt_rtx", small)
    assert find_package().is_rtx


def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(BackendError, match=r"not installed: expected one of .*tensorrt, tensorrt_rtx.*Install"):
        find_package()


@pytest.mark.parametrize("fault", ["import a_library_that_is_not_there", "raise OSError('libnvinfer.so not found')"])
def test_a_broken_package_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str) -> None:
    (tmp_path / "tensorrt.py").write_text(fault)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BackendError, match=r"tensorrt is installed but cannot be imported.*(not_there|libnvinfer)"):
        find_package()


def test_networks_are_strongly_typed_where_there_is_another_kind() -> None:
    builder = SimpleNamespace(create_network=lambda flags: flags)
    older = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(__members__={"STRONGLY_TYPED": 1}))
    newer = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(__members__={}))
    assert Package("tensorrt", older).new_network(builder) == 2
    assert Package("tensorrt", newer).new_network(builder) == 0


def test_rtx_contexts_compile_their_kernels_at_once() -> None:
    config = SimpleNamespace(set_execution_context_allocation_strategy=lambda strategy: managed.append(strategy))
    managed: list[str] = []
    module = SimpleNamespace(
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="mine"),
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
    )
    engine = SimpleNamespace(create_runtime_config=lambda: config, create_execution_context=lambda given: given)
    assert Package("tensorrt_rtx", module).new_context(engine) is config
    assert managed == ["mine"]
    assert config.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert Package("tensorrt", module).new_context(engine) == "mine"


def test_the_interface_it_is_written_for_is_that_of_the_installed_one(rtx: Package) -> None:
    module = rtx.module
    assert "STRONGLY_TYPED" in module.NetworkDefinitionCreationFlag.__members__
    assert hasattr(module.IRuntimeConfig, "set_execution_context_allocation_strategy")
    assert hasattr(module.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    assert "EAGER" in module.DynamicShapesKernelSpecializationStrategy.__members__
    context = module.IExecutionContext
    for method in ("set_optimization_profile_async", "set_input_shape", "set_tensor_address", "set_device_memory"):
        assert hasattr(context, method)
    assert hasattr(context, "execute_async_v3")
    assert hasattr(module.ICudaEngine, "device_memory_size_v2")

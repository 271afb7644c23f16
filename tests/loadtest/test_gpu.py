"""What GPUs' memory holds is told of all of them together, or not at all."""

from types import SimpleNamespace

import pynvml
import pytest

from loadtest.gpu import used_bytes


class Driver:
    """NVML of a machine with these bytes taken on its GPUs; None: a GPU that does not tell."""

    def __init__(self, *used: int | None) -> None:
        self.used = used
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.used)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        assert self.open == 1
        if self.used[handle] is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(used=self.used[handle])


class NoDriver(Driver):
    def nvmlInit(self) -> None:  # noqa: N802
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


def told(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> int | None:
    for name in dir(Driver):
        if name.startswith("nvml"):
            monkeypatch.setattr(pynvml, name, getattr(driver, name))
    return used_bytes()


@pytest.mark.parametrize(
    ("driver", "found"),
    [(NoDriver(), None), (Driver(), None), (Driver(5), 5), (Driver(5, 0, 7), 12), (Driver(5, None), None)],
    ids=["no driver", "no GPU", "one", "several", "one does not tell"],
)
def test_all_gpus_are_added_up(monkeypatch: pytest.MonkeyPatch, driver: Driver, found: int | None) -> None:
    assert told(monkeypatch, driver) == found
    assert driver.open == 0


def test_on_this_machine_it_tells_or_has_no_gpu() -> None:
    assert (used_bytes() or 0) >= 0

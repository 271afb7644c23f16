"""The kernels are compiled for the GPU they are for, on any machine: into tensor-core products fed by asynchronous
copies, within its shared memory, without spilling registers."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not made for this platform")

SHARED_MEMORY = 227 * 1024  # bytes a block may have on compute capability 9.0 (CUDA programming guide)


@pytest.fixture(scope="module")
def made() -> dict[str, dict[str, int]]:
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_DEFAULT_FP_FUSION": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.kernels.hopper"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


def test_every_kernel_fits_a_block_and_spills_nothing(made: dict[str, dict[str, int]]) -> None:
    assert len(made) > 5
    for name, kernel in made.items():
        assert kernel["shared"] <= SHARED_MEMORY, name
        assert kernel["spills"] == 0, name


def test_products_run_on_tensor_cores_fed_while_they_multiply(made: dict[str, dict[str, int]]) -> None:
    for name, kernel in made.items():
        if name[0].isdigit():  # attention, by its tile
            assert kernel["products"] > 0, name
            assert kernel["copies"] > 0, name

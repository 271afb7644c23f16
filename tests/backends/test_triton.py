"""The triton backend against a real tritonserver: the same images, and clear words when something is wrong."""

import errno
import sys
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from threading import Timer

import pytest
import torch
from torch import Tensor
from tritonclient.grpc import InferenceServerClient
from typer.testing import CliRunner

from diffes.backends import BACKENDS, open_backend
from diffes.backends.base import Backend
from diffes.backends.triton import TritonBackend
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.cli import app
from diffes.errors import BackendError
from diffes.pruning.calibration import Calibration
from diffes.rollout import initial_state, run, seeded_noise
from diffes.router import route
from diffes.sizes import Size
from export.triton import wrap_bundle
from tests.bundles import export
from tests.prompting import labelled
from tests.service import free_port
from tests.tritonserver import HOSTING, Server


@pytest.fixture(scope="module")
def local(tiny_bundle: Bundle) -> Iterator[Backend]:
    """What the server runs, in this process."""
    backend = open_backend("onnxruntime", tiny_bundle, "cpu", 1)
    yield backend
    backend.close()


@pytest.fixture
def connect(tiny_bundle: Bundle) -> Iterator[Callable[[str], TritonBackend]]:
    """Opens backends that are closed at the end."""
    opened: list[TritonBackend] = []

    def connect(address: str) -> TritonBackend:
        opened.append(TritonBackend(tiny_bundle, address))
        return opened[-1]

    yield connect
    for backend in opened:
        backend.close()


@pytest.fixture(scope="module")
def other_bundle(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """The same model with another schedule."""
    return export(tiny_checkpoint, [(1, 1)], tiny_calibration, tmp_path_factory.mktemp("other") / "bundle")


@pytest.fixture
def mortal(start_triton: Callable[[Path], Server], tiny_bundle: Bundle, tmp_path: Path) -> Server:
    """A server of one test, which may kill it."""
    wrap_bundle(tiny_bundle, tmp_path / "repository", hosting=HOSTING)
    return start_triton(tmp_path / "repository")


def denoised(backend: Backend, bundle: Bundle, rows: int = 3) -> Tensor:
    """The default schedule's first subgraph on seeded noise."""
    conditions = backend.condition(torch.arange(rows) * 100.0 + 3, {"labels": torch.arange(rows) % 11})
    subgraph = bundle.subgraph_of[bundle.schedule().stages[1].blocks]
    return backend.denoise(subgraph, seeded_noise(range(rows), (3, 8, 8)), conditions)


def images(backend: Backend, bundle: Bundle) -> Tensor:
    """Two guided images through every stage."""
    path = bundle.trajectory(20)
    subgraphs = route(bundle.schedule(), bundle.subgraph_of, path).subgraphs
    state = initial_state(path, seeded_noise([1, 2], (3, 8, 8)))
    return backend.decode(run(backend, subgraphs, path, state, labelled(3, 8), 1.5).latents)


@pytest.mark.parametrize("shared", [True, False])
def test_images_are_those_of_the_backend_that_the_server_runs(
    connect: Callable[[str], TritonBackend], triton_server: Server, local: Backend, tiny_bundle: Bundle, shared: bool
) -> None:
    backend = connect(f"{triton_server.address}?shared_memory={'on' if shared else 'off'}")
    assert backend.uses_shared_memory is shared
    assert (images(backend, tiny_bundle) - images(local, tiny_bundle)).abs().max() <= 1e-5


def test_shared_memory_and_grpc_give_the_same_bits(
    connect: Callable[[str], TritonBackend], triton_server: Server, tiny_bundle: Bundle
) -> None:
    found = [
        denoised(connect(f"{triton_server.address}?shared_memory={switch}"), tiny_bundle) for switch in ("on", "off")
    ]
    assert torch.equal(*found)


def test_on_this_host_memory_is_shared_without_asking(
    connect: Callable[[str], TritonBackend], triton_server: Server
) -> None:
    assert connect(triton_server.address).uses_shared_memory


@pytest.mark.parametrize("switch", ["on", "off"])
def test_more_rows_than_the_server_takes_at_once_are_split(
    connect: Callable[[str], TritonBackend], triton_server: Server, local: Backend, tiny_bundle: Bundle, switch: str
) -> None:
    backend = connect(f"{triton_server.address}?shared_memory={switch}")
    assert backend.server.max_rows == 4
    assert (denoised(backend, tiny_bundle, 9) - denoised(local, tiny_bundle, 9)).abs().max() <= 1e-5


def test_a_request_through_the_command_line_gives_the_same_png(
    triton_server: Server, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    asked = ["generate", str(tiny_bundle.folder), "--label", "3", "--seed", "7", "--steps", "4"]
    for name, device in (("onnxruntime", "cpu"), ("triton", triton_server.address)):
        where = ["--backend", name, "--device", device, "--out", str(tmp_path / name)]
        assert CliRunner().invoke(app, [*asked, *where], catch_exceptions=False).exit_code == 0
    assert (tmp_path / "triton").read_bytes() == (tmp_path / "onnxruntime").read_bytes()


def test_a_call_that_fails_carries_the_servers_words_and_harms_nobody(
    connect: Callable[[str], TritonBackend], triton_server: Server, local: Backend, tiny_bundle: Bundle
) -> None:
    backend = connect(triton_server.address)
    latents = seeded_noise([0], (3, 8, 8))
    with pytest.raises(BackendError, match="an input is missing.*expected latents, modulation"):
        backend.denoise(next(iter(tiny_bundle.subgraph_of.values())), latents, {})
    with pytest.raises(BackendError, match=r"unexpected shape for input 'latents'.*got \[1,3,4,4\]"):
        backend.denoise(next(iter(tiny_bundle.subgraph_of.values())), latents[..., :4, :4], {})
    assert (denoised(backend, tiny_bundle) - denoised(local, tiny_bundle)).abs().max() <= 1e-5


def test_another_bundle_than_the_servers_is_refused(triton_server: Server, other_bundle: Bundle) -> None:
    with pytest.raises(BackendError, match=r"hosts another bundle: expected manifest \w{64}, found manifest \w{64}"):
        TritonBackend(other_bundle, triton_server.address)


def test_a_server_that_is_not_there_is_named(tiny_bundle: Bundle) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BackendError, match=f"{address} .*cannot be reached.*within 0.3 s.*Start tritonserver"):
        TritonBackend(tiny_bundle, f"{address}?patience=0.3")


@pytest.mark.parametrize("model", ["missing", "broken"])
def test_a_model_that_is_not_loaded_is_named(triton_server: Server, tiny_bundle: Bundle, model: str) -> None:
    with pytest.raises(BackendError, match=f"has not loaded the model: expected model {model}, ready"):
        TritonBackend(tiny_bundle, f"{triton_server.address}/{model}?patience=0.3")


def test_a_wrong_parameter_is_in_the_servers_log(triton_server: Server) -> None:
    expected = f"unknown backend: expected one of {', '.join(BACKENDS)}, found abacus"
    assert expected in triton_server.log.read_text()


def test_a_killed_server_is_an_error_and_a_restarted_one_is_found(
    connect: Callable[[str], TritonBackend], mortal: Server, tiny_bundle: Bundle
) -> None:
    backends = [connect(f"{mortal.address}?shared_memory={switch}&patience=0.5") for switch in ("on", "off")]
    before = denoised(backends[0], tiny_bundle)
    mortal.kill()
    for backend in backends:
        with pytest.raises(BackendError, match="cannot be reached"):
            denoised(backend, tiny_bundle)
    mortal.start()
    for backend in backends:
        assert torch.equal(denoised(backend, tiny_bundle), before)


def test_a_call_outlives_a_restart(
    connect: Callable[[str], TritonBackend], mortal: Server, tiny_bundle: Bundle
) -> None:
    backend = connect(f"{mortal.address}?patience=60")
    before = denoised(backend, tiny_bundle)
    mortal.kill()
    restart = Timer(0.5, mortal.start)
    restart.start()
    assert torch.equal(denoised(backend, tiny_bundle), before)
    restart.join()


def test_a_restart_between_two_calls_goes_unnoticed(
    connect: Callable[[str], TritonBackend], mortal: Server, tiny_bundle: Bundle
) -> None:
    backend = connect(mortal.address)
    before = denoised(backend, tiny_bundle)
    mortal.kill()
    mortal.start()
    assert torch.equal(denoised(backend, tiny_bundle), before)
    assert backend.uses_shared_memory


def test_a_server_restarted_on_another_bundle_is_refused_at_the_next_call(
    connect: Callable[[str], TritonBackend], mortal: Server, tiny_bundle: Bundle, other_bundle: Bundle
) -> None:
    backend = connect(mortal.address)
    mortal.kill()
    wrap_bundle(other_bundle, mortal.repository, hosting=HOSTING, overwrite=True)
    mortal.start()
    with pytest.raises(BackendError, match="the server runs another bundle than its client"):
        denoised(backend, tiny_bundle)


def test_a_server_that_hangs_is_an_error_and_its_late_answer_spoils_nothing(
    connect: Callable[[str], TritonBackend],
    start_triton: Callable[[Path], Server],
    local: Backend,
    tiny_bundle: Bundle,
    tmp_path: Path,
) -> None:
    repository, gate = tmp_path / "repository", tmp_path / "closed"
    wrap_bundle(tiny_bundle, repository, hosting=HOSTING)
    with (repository / "diffes/1/model.py").open("a") as model:
        model.write(WAITS_AT_A_GATE.format(gate=str(gate)))
    backend = connect(f"{start_triton(repository).address}?timeout=1")
    gate.touch()
    with pytest.raises(BackendError, match="did not answer in time: expected an answer within 1 s"):
        denoised(backend, tiny_bundle)
    opening = Timer(0.3, gate.unlink)  # while the next call waits behind the late one
    opening.start()
    for rows in (2, 4, 3):
        assert (denoised(backend, tiny_bundle, rows) - denoised(local, tiny_bundle, rows)).abs().max() <= 1e-5
    opening.join()


WAITS_AT_A_GATE = """

class Waiting(TritonPythonModel):
    def execute(self, requests):
        import time
        while Path({gate!r}).exists():
            time.sleep(0.01)
        return super().execute(requests)


TritonPythonModel = Waiting
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is not a file system that fills up")
def test_where_shared_memory_is_full_it_says_so_instead_of_dying(
    triton_server: Server, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(BackendError, match=r"expected 1048576 bytes in /dev/shm, found No space.*shared_memory=off"):
        TritonBackend(tiny_bundle, triton_server.address)
    TritonBackend(tiny_bundle, f"{triton_server.address}?shared_memory=off").close()


def test_shared_memory_is_given_back(triton_server: Server, tiny_bundle: Bundle) -> None:
    client = InferenceServerClient(triton_server.address)
    before = set(client.get_system_shared_memory_status().regions)
    backend = TritonBackend(tiny_bundle, triton_server.address)
    (name,) = set(client.get_system_shared_memory_status().regions) - before
    backend.close()
    assert set(client.get_system_shared_memory_status().regions) == before
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)
    client.close()


def test_threads_are_the_servers(tiny_bundle: Bundle) -> None:
    with pytest.raises(BackendError, match=r"threads are its server's.*found 2.*config\.pbtxt"):
        open_backend("triton", tiny_bundle, "127.0.0.1:8001", 2)


@pytest.mark.parametrize("module", ["tritonclient", "grpc"])
def test_without_the_client_the_extra_is_named(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "tritonclient" or name.startswith("diffes.backends.remote."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=r"needs Triton's client.*pip install 'diffes\[triton\]'"):
        TritonBackend(tiny_bundle, "127.0.0.1:8001")


def test_a_server_makes_what_texts_say_at_every_size(
    start_triton: Callable[[Path], Server], tiny_sdxl_sized: Bundle, tmp_path: Path
) -> None:
    bundle = tiny_sdxl_sized
    wrap_bundle(bundle, tmp_path / "repository", hosting=HOSTING)
    served = TritonBackend(bundle, start_triton(tmp_path / "repository").address)
    here = open_backend("onnxruntime", bundle, "cpu", 1)
    for size in bundle.sizes:
        prompts = bundle.wording.prompt(text="a red cat", unwanted="a dog", size=size)
        rows = prompts.rows(bundle.architecture.prompt_inputs())
        start = initial_state(bundle.trajectory(2), seeded_noise([1], bundle.latents_of(size)))
        keys = [bundle.manifest.subgraphs[0].id] * 2
        images = [
            backend.decode(run(backend, keys, bundle.trajectory(2), start, rows, 2.0).latents)
            for backend in (served, here)
        ]
        assert Size(*images[0].shape[2:]) == size
        torch.testing.assert_close(*images, rtol=0, atol=1e-6)
    for backend in (served, here):
        backend.close()

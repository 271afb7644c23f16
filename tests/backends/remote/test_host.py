"""The server's side, without a server."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from diffes.backends import open_backend
from diffes.backends.remote.host import Host
from diffes.backends.remote.protocol import Description, decode, encode
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.rollout import seeded_noise

SETTINGS = {"backend": "onnxruntime", "device": "cpu", "threads": "1", "max_rows": "4"}


@pytest.fixture(scope="module")
def host(tiny_bundle: Bundle) -> Iterator[Host]:
    """The tiny bundle on one thread."""
    opened = Host.open(tiny_bundle.folder, SETTINGS)
    yield opened
    opened.close()


def texts(**values: str) -> dict[str, Tensor]:
    return {name: encode(value) for name, value in values.items()}


def condition(rows: int = 2) -> dict[str, Tensor]:
    return {"timesteps": torch.arange(rows) * 50.0, "labels": torch.arange(rows)}


def described(host: Host) -> Description:
    return Description.parse(decode(host.answer(texts(operation="describe"))["description"]), "the host")


def test_it_says_what_it_runs(host: Host) -> None:
    found = described(host)
    assert (found.backend, found.device, found.max_rows, len(found.bundle)) == ("onnxruntime", "cpu", 4, 64)


def test_it_answers_as_its_backend_does(host: Host, tiny_bundle: Bundle) -> None:
    backend = open_backend("onnxruntime", tiny_bundle, "cpu", 1)
    conditions = host.answer(texts(operation="condition", bundle=described(host).bundle) | condition())
    given = condition()
    expected = backend.condition(given["timesteps"], {"labels": given["labels"]})
    assert all(torch.equal(conditions[name], value) for name, value in expected.items())
    latents = seeded_noise(range(2), (3, 8, 8))
    for subgraph in tiny_bundle.subgraph_of.values():
        found = host.answer(texts(operation="denoise", subgraph=subgraph) | {"latents": latents} | conditions)
        assert torch.equal(found["prediction"], backend.denoise(subgraph, latents, expected))
    found = host.answer(texts(operation="decode") | {"latents": latents * 9})
    assert torch.equal(found["images"], (latents * 9).clamp(-1, 1))
    backend.close()


@pytest.mark.parametrize(
    ("asked", "tensors", "complaint"),
    [
        ({}, {}, "unknown operation: expected one of describe, encode, condition, denoise, decode, found none"),
        ({"operation": "stop"}, {}, "unknown operation.*found stop"),
        ({"operation": "describe", "bundle": "0"}, {}, "another bundle than its client: expected manifest 0, found"),
        ({"operation": "condition"}, {}, "a call is one batch.*found no tensor"),
        ({"operation": "condition"}, condition(5), "expected at most 4 rows.*timesteps: 5"),
        ({"operation": "condition"}, condition() | {"labels": torch.zeros(1)}, "timesteps: 2, labels: 1"),
        ({"operation": "condition"}, {"labels": torch.zeros(1)}, "missing: expected timesteps, labels, found labels"),
        ({"operation": "denoise"}, {"latents": torch.zeros(1, 3, 8, 8)}, "unknown subgraph.*found none"),
        ({"operation": "denoise", "subgraph": "x"}, condition(), "unknown subgraph.*found x"),
    ],
)
def test_what_it_cannot_do_it_says(
    host: Host, asked: dict[str, str], tensors: dict[str, Tensor], complaint: str
) -> None:
    with pytest.raises(BackendError, match=complaint):
        host.answer(texts(**asked) | tensors)


@pytest.mark.parametrize(
    ("name", "value"), [("threads", "many"), ("threads", "0"), ("max_rows", ""), ("max_rows", "-1")]
)
def test_a_parameter_that_is_no_number_is_named(tiny_bundle: Bundle, name: str, value: str) -> None:
    with pytest.raises(BackendError, match=f"parameter {name} is wrong: expected a whole number above 0"):
        Host.open(tiny_bundle.folder, SETTINGS | {name: value})

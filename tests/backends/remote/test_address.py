"""`--device` of the triton backend, read."""

import pytest

from diffes.backends.remote.address import Address
from diffes.errors import BackendError


def test_host_and_port_are_enough() -> None:
    assert Address.parse("gpu-box:8001") == Address("gpu-box", 8001, "diffes", None, 60.0, 10.0)


def test_model_and_options_may_follow() -> None:
    found = Address.parse("10.0.0.7:8001/other?shared_memory=off&timeout=2.5&patience=30")
    assert found == Address("10.0.0.7", 8001, "other", False, 2.5, 30.0)


@pytest.mark.parametrize("text", ["localhost:1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1"])
def test_loopback_addresses_are_this_host(text: str) -> None:
    assert Address.parse(text).is_loopback


@pytest.mark.parametrize("text", ["gpu-box:1", "10.0.0.7:1", "[2001:db8::1]:1"])
def test_other_addresses_may_be_another_host(text: str) -> None:
    assert not Address.parse(text).is_loopback


def test_grpc_dials_host_and_port() -> None:
    assert Address.parse("[::1]:8001/other").url == "[::1]:8001"
    assert Address.parse("gpu-box:8001?timeout=1").url == "gpu-box:8001"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cpu", r"found cpu \(no host and port\)"),
        ("cuda:0", r"found cuda:0 \(no host and port\)"),
        (":8001", "no host and port"),
        ("host:port", "could not be cast|invalid literal"),
        ("host:99999", "out of range"),
        ("host:1?timeout=0", "0 is no number of seconds above 0"),
        ("host:1?timeout=inf", "inf is no number"),
        ("host:1?patience=soon", "soon"),
        ("host:1?shared_memory=maybe", "shared_memory is on, off, auto"),
        ("host:1?speed=9", "no option speed"),
        ("host:1?timeout", "bad query field"),
    ],
)
def test_what_is_no_address_is_refused_with_the_form(text: str, complaint: str) -> None:
    with pytest.raises(BackendError, match=r"expected as device.*HOST:PORT") as refused:
        Address.parse(text)
    assert refused.match(complaint)

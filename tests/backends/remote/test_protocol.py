"""What client and server tell each other."""

import pytest

from diffes.backends.remote.protocol import PROTOCOL, Description, decode, encode
from diffes.errors import BackendError

SAID = Description(protocol=PROTOCOL, bundle="ab" * 32, backend="torch", device="cuda", max_rows=8, diffes="0.1.0")


def test_text_travels_as_its_bytes() -> None:
    assert decode(encode("größer")) == "größer"
    assert encode("größer").shape == (8,)


def test_a_description_arrives_as_it_left() -> None:
    assert Description.parse(SAID.model_dump_json(), "the server") == SAID


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello", "the server does not speak as Diffes does"),
        ("[]", "another version of Diffes: expected protocol 1, found protocol None"),
        (SAID.model_copy(update={"protocol": 2}).model_dump_json(), "expected protocol 1, found protocol 2"),
        (SAID.model_copy(update={"max_rows": 0}).model_dump_json(), "malformed at max_rows"),
    ],
)
def test_another_servers_words_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(BackendError, match=complaint):
        Description.parse(text, "the server")

"""What both peers are besides HTTP."""

from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from unittest.mock import patch

import pytest
from PIL import Image
from pydantic import ValidationError

from diffes.serving.schema import GenerateAnswer, GenerateBody
from loadtest.mix import Asked as Drawn
from loadtest.peers.peer import Answer, Asked, Peer, Refused, Settings


@pytest.fixture(scope="module")
def peer(tiny_model_folder: Path) -> Iterator[Peer]:
    peer = Peer(Settings(model=tiny_model_folder, steps=4, threads=1))
    peer.opened.result()
    yield peer
    peer.close()


def test_an_answer_has_the_fields_of_a_diffes_service(peer: Peer) -> None:
    answer = peer.generate(Asked(label=8, seed=3))
    assert GenerateAnswer.model_validate(answer.model_dump()).shed_from is None
    assert Answer.model_fields.keys() == GenerateAnswer.model_fields.keys()
    assert (answer.steps, answer.guidance, answer.schedule) == (4, 1.5, "dense")
    assert answer.bundle == "tiny-dit"


def test_what_is_asked_is_a_body_of_a_diffes_service() -> None:
    assert Asked.model_fields.keys() <= GenerateBody.model_fields.keys()
    Asked.model_validate(Drawn(label=1, seed=2, images=3, steps=4, guidance=2, schedule="dense").body())
    Asked.model_validate(Drawn(label=1, seed=2, deterministic=True).body())


@pytest.mark.parametrize("wrong", [{"schedule": "fast"}, {"previews": 1}, {"timeout": 3.0}])
def test_what_a_peer_cannot_do_is_refused(wrong: dict[str, object]) -> None:
    body = Drawn(label=1, seed=2).body() | wrong
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Asked.model_validate(body)


def test_labels_and_steps_that_the_model_lacks_are_refused(peer: Peer) -> None:
    with pytest.raises(Refused, match="label: expected at most 9, found 10"):
        peer.generate(Asked(label=10, seed=0))
    with pytest.raises(Refused, match="steps: expected at most 1000, found 1001"):
        peer.generate(Asked(label=0, seed=0, steps=1001))


def test_images_of_a_request_have_the_seeds_that_follow(peer: Peer) -> None:
    answer = peer.generate(Asked(label=8, seed=3, n=2))
    assert answer.images == [peer.generate(Asked(label=8, seed=seed)).images[0] for seed in (3, 4)]


def test_requests_wait_for_one_another(peer: Peer) -> None:
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda seed: peer.generate(Asked(label=0, seed=seed, n=4)), range(4)))
    waits = sorted(answer.timings.queue_seconds for answer in answers)
    alone = min(answer.timings.total_seconds - answer.timings.queue_seconds for answer in answers)
    assert waits[-1] > 2 * alone


def test_who_waits_when_it_closes_is_dropped(tiny_model_folder: Path) -> None:
    begun, free = Event(), Event()

    def image(*_: object) -> Image.Image:
        begun.set()
        free.wait()
        return Image.new("RGB", (8, 8))

    peer = Peer(Settings(model=tiny_model_folder, threads=1))
    with patch.object(peer.opened.result(), "image", image), ThreadPoolExecutor(3) as callers:
        first = callers.submit(peer.generate, Asked(label=0, seed=0))
        begun.wait()
        second = callers.submit(peer.generate, Asked(label=0, seed=1))
        closing = callers.submit(peer.close)
        with pytest.raises((CancelledError, RuntimeError)):  # waiting, or only about to
            second.result()
        free.set()
        assert len(first.result().images) == 1
        closing.result()


def test_a_model_that_cannot_be_opened_is_never_ready(tiny_model_folder: Path) -> None:
    peer = Peer(Settings(model=tiny_model_folder, device="cuda:99"))
    assert peer.opened.exception() is not None
    assert not peer.ready
    peer.close()

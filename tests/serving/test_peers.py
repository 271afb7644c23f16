"""Taking a request back through a worker that has not got it."""

import asyncio
from pathlib import Path

from starlette.testclient import TestClient

from diffes.serving.peers import Peers, new_id, worker_of
from tests.serving.conftest import Warm, client_of


def test_an_id_says_its_worker() -> None:
    assert worker_of(new_id(3)) == 3
    assert new_id(3) != new_id(3)
    for other in ("", "img-3", new_id(3) + "0", "img-x-" + "0" * 32, "img--1-" + "0" * 32):
        assert worker_of(other) is None


def test_the_worker_that_has_a_request_is_asked_to_drop_it(tmp_path: Path) -> None:
    asked: list[str] = []

    def cancel(request_id: str) -> bool:
        asked.append(request_id)
        return request_id == "mine"

    async def talk() -> tuple[bool, bool]:
        one, two = Peers(tmp_path / "peers", 1), Peers(tmp_path / "peers", 2)
        await one.listen(cancel)
        await two.listen(lambda _: False)
        answers = await two.cancel(1, "mine"), await two.cancel(1, "other")
        await one.close()
        await two.close()
        return answers

    assert asyncio.run(talk()) == (True, False)
    assert asked == ["mine", "other"]
    assert not (tmp_path / "peers").exists()


def test_a_worker_that_is_gone_has_no_requests_and_its_place_can_be_taken(tmp_path: Path) -> None:
    async def talk() -> list[bool]:
        one, two = Peers(tmp_path, 1), Peers(tmp_path, 2)
        answers = [await two.cancel(1, "x")]
        (tmp_path / "1.sock").touch()  # what a killed worker leaves
        answers.append(await two.cancel(1, "x"))
        await one.listen(lambda _: True)
        answers.append(await two.cancel(1, "x"))
        await one.close()
        return answers

    assert asyncio.run(talk()) == [False, False, True]


def test_a_request_of_a_worker_that_is_not_there_is_unknown(idle: Warm) -> None:
    client: TestClient = client_of(idle)
    assert client.delete(f"/v1/requests/{new_id(7)}").status_code == 404

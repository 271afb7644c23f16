"""A whole load test of a server that does what it is told: locust sends, and all contenders hear the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffes.errors import LoadTestError
from loadtest.arrivals import Constant
from loadtest.contenders import Contender, running
from loadtest.mix import Mix
from loadtest.result import ContenderResult, Result
from tests.loadtest.instant import instant
from tests.loadtest.jobs import Heard, job, scenario
from tests.loadtest.server import Exchange, Server, serving

REQUESTS = 30
SEEDS = 3
ASKED = scenario(seconds=1, arrivals=Constant(rate=REQUESTS), mix=Mix(seeds=SEEDS, stream=0.3, previews=1))


def is_wrong(body: Mapping[str, Any]) -> bool:
    """`fast` gives the right image only to who asks for it alone."""
    return body.get("schedule") == "fast" and not body.get("deterministic")


@dataclass
class Done:
    """A test that came to its end, and what the server saw of it."""

    folder: Path
    server: Server
    heard: Heard
    result: Result

    def contender(self, name: str) -> ContenderResult:
        return next(each for each in self.result.contenders if each.name == name)

    def sent(self, name: str) -> list[Exchange]:
        """Requests of locust's of one contender, as they came."""
        return [
            seen
            for seen in self.server.seen
            if "x-client-request-id" in seen.headers and seen.body.get("schedule") == name
        ]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder, heard = tmp_path_factory.mktemp("test"), Heard()
    with serving(instant(is_wrong)) as server:
        contenders = [Contender(name, running(server.url, "secret", None), name) for name in ("dense", "fast")]
        yield Done(folder, server, heard, job(folder, ASKED, *contenders, heard=heard).run())


def test_both_are_asked_the_same(done: Done) -> None:
    dense, fast = (done.sent(name) for name in ("dense", "fast"))
    assert len(dense) == len(fast) == REQUESTS
    assert [(seen.path, seen.body | {"schedule": ""}) for seen in dense] == [
        (seen.path, seen.body | {"schedule": ""}) for seen in fast
    ]
    assert len({seen.headers["x-client-request-id"] for seen in dense + fast}) == 2 * REQUESTS
    assert {seen.headers["authorization"] for seen in done.server.seen} == {"Bearer secret"}


def test_every_request_is_told_of_once(done: Done) -> None:
    for name in ("dense", "fast"):
        (run,) = done.contender(name).runs
        assert run.findings.fates == {"answered": REQUESTS, "refused": 0, "failed": 0, "left": 0, "unknown": 0}
        assert run.disagreements == []
        assert run.held
    assert (done.folder / "rows.csv").read_text().count("\n") == 1 + 2 * REQUESTS


def test_right_images_pass_and_wrong_ones_are_named(done: Done) -> None:
    dense, fast = (done.contender(name).images for name in ("dense", "fast"))
    assert dense is not None
    assert fast is not None
    assert (dense.images, dense.seeds, dense.wrong) == (REQUESTS, SEEDS, [])
    assert (fast.seeds, len(fast.wrong)) == (SEEDS, SEEDS)
    assert all("fast: off by" in told for told in fast.wrong)
    assert done.result.verdict == f"FAIL: fast: wrong images: {SEEDS} (asked: 0 at most)."


def test_every_different_image_is_kept_once_and_can_be_opened(done: Done) -> None:
    for name in ("dense", "fast"):
        kept = list((done.folder / name / "images").iterdir())
        assert len(kept) == SEEDS
        assert {Image.open(BytesIO(path.read_bytes())).size for path in kept} == {(2, 2)}


def test_what_goes_on_is_told(done: Done) -> None:
    assert done.heard.phases == ["opening dense", "comparing images", "opening fast", "comparing images"]
    assert [run.folder for run in done.heard.runs] == ["dense/01", "fast/01"]


def test_nobody_who_listens_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    contender = Contender("service", running("http://127.0.0.1:1", "", None))
    with pytest.raises(LoadTestError, match=r"http://127\.0\.0\.1:1 is no Diffes service"):
        job(tmp_path, ASKED, contender).run()
    assert not (tmp_path / "service" / "01").exists()

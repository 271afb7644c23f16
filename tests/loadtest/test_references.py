"""Images are right if they are what their seeds give; one that is not is named, however it differs."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.errors import InvalidInput, LoadTestError, NotReady
from diffes.images import to_image
from loadtest import references
from loadtest.mix import Asked
from loadtest.references import (
    TOLERANCES,
    Comparison,
    Pixels,
    Tolerance,
    Wanted,
    compare_images,
    made_by_bundle,
    made_by_service,
)
from loadtest.rows import Row
from loadtest.target import Target
from tests.loadtest.answers import after, refuse
from tests.loadtest.callers import asking, one
from tests.loadtest.server import Script, serving
from tests.loadtest.trials import row
from tests.prompting import of_label

ALLOWED = Tolerance(0.5, 2)


def painted(want: Wanted) -> Pixels:
    """A picture of its own for everything that an image depends on."""
    return np.random.default_rng(crc32(repr(want).encode())).integers(5, 250, (4, 4, 3), np.uint8)


class Painter:
    """Makes references, and keeps for whom."""

    def __init__(self) -> None:
        self.wanted: list[Wanted] = []

    def __call__(self, wanted: Sequence[Wanted]) -> Iterator[Pixels]:
        self.wanted += wanted
        return map(painted, wanted)


def kept(folder: Path, digest: str, pixels: Pixels) -> None:
    Image.fromarray(pixels).save(folder / f"{digest}.png")


def answered(folder: Path, number: int, seed: int, images: int = 1, **other: object) -> Row:
    """A row, its right images in the folder."""
    digests = tuple(f"{number}-{index}" for index in range(images))
    told = row(number, label=3, seed=seed, images=images, digests=digests)
    told = replace(told, **other)  # type: ignore[arg-type]
    for index, digest in enumerate(told.digests):
        kept(folder, digest, painted(Wanted(told.label, seed + index, told.steps, told.served_by, None)))
    return told


def compared(folder: Path, rows: Sequence[Row], allowed: Tolerance = ALLOWED) -> Comparison:
    return compare_images(rows, None, folder, Painter(), "a painter", allowed)


def test_right_images_pass(tmp_path: Path) -> None:
    rows = [answered(tmp_path, 0, 5), answered(tmp_path, 1, 7, images=3), row(2, "failed"), row(3, "left")]
    found = compared(tmp_path, rows)
    assert found == Comparison(
        maker="a painter", images=4, seeds=4, mean=0, most=0, allowed_mean=0.5, allowed_most=2, wrong=[]
    )


def test_where_nobody_was_answered_nothing_is_wrong(tmp_path: Path) -> None:
    found = compared(tmp_path, [row(0, "refused")])
    assert (found.images, found.seeds, found.wrong) == (0, 0, [])


def test_swapped_images_are_both_named(tmp_path: Path) -> None:
    rows = [answered(tmp_path, number, number) for number in range(3)]
    swapped = [replace(rows[0], digests=rows[1].digests), replace(rows[1], digests=rows[0].digests), rows[2]]
    found = compared(tmp_path, swapped)
    assert [wrong.split(":")[0] for wrong in found.wrong] == [
        "1-0.png, label 3, seed 0, fast",
        "0-0.png, label 3, seed 1, fast",
    ]
    assert found.mean > 40


def test_swapped_images_of_one_request_are_named(tmp_path: Path) -> None:
    told = answered(tmp_path, 0, 5, images=2)
    assert len(compared(tmp_path, [replace(told, digests=told.digests[::-1])]).wrong) == 2


@pytest.mark.parametrize(
    ("pixels", "levels", "told"),
    [
        (1, 2, ""),
        (1, -2, ""),
        (1, 3, "off by 0.06 grey levels on average, 3 at most"),
        (24, 1, ""),
        (25, 1, "off by 0.52 grey levels on average, 1 at most"),
        (48, -3, "off by 3.00 grey levels on average, 3 at most"),
    ],
)
def test_an_image_may_differ_by_what_is_allowed(tmp_path: Path, pixels: int, levels: int, told: str) -> None:
    rows = [answered(tmp_path, 0, 5), answered(tmp_path, 1, 6)]
    off = painted(Wanted(3, 5, None, "fast", None)).astype(int)
    off.flat[:pixels] += levels
    kept(tmp_path, "0-0", off.astype(np.uint8))
    found = compared(tmp_path, rows)
    assert found.wrong == ([f"0-0.png, label 3, seed 5, fast: {told}"] if told else [])
    assert found.mean == pytest.approx(pixels * abs(levels) / 48)
    assert found.most == abs(levels)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    told = answered(tmp_path, 0, 5)
    kept(tmp_path, "0-0", np.zeros((8, 4, 3), np.uint8))
    (wrong,) = compared(tmp_path, [told]).wrong
    assert wrong.startswith("0-0.png, label 3, seed 5, fast: off by 255.00")


@pytest.mark.parametrize("bytes_left", [0, 8, 40, 60])
def test_a_damaged_image_is_named(tmp_path: Path, bytes_left: int) -> None:
    told = answered(tmp_path, 0, 5)
    path = tmp_path / "0-0.png"
    path.write_bytes(path.read_bytes()[:bytes_left])
    (wrong,) = compared(tmp_path, [told]).wrong
    assert wrong.startswith("0-0.png, label 3, seed 5, fast: off by 255.00")


def test_an_image_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        compared(tmp_path, [row(0)])


def test_references_are_asked_for_once_by_all_that_they_depend_on(tmp_path: Path) -> None:
    same = answered(tmp_path, 0, 5, images=2)
    rows = [same, replace(same, number=1), answered(tmp_path, 2, 6)]
    rows += [answered(tmp_path, 3, 5, steps=10), answered(tmp_path, 4, 5, served_by="dense")]
    painter = Painter()
    found = compare_images(rows, 2.5, tmp_path, painter, "a painter", Tolerance(255, 255))
    assert (found.images, found.seeds) == (7, 2)
    assert Counter(painter.wanted) == {
        Wanted(3, 5, None, "fast", 2.5): 1,
        Wanted(3, 6, None, "fast", 2.5): 1,
        Wanted(3, 5, 10, "fast", 2.5): 1,
        Wanted(3, 5, None, "dense", 2.5): 1,
    }


def test_equal_files_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = Counter[str]()
    read = references._read

    def look(path: Path) -> Pixels:
        looked[path.stem] += 1
        return read(path)

    monkeypatch.setattr(references, "_read", look)
    same = answered(tmp_path, 0, 5, images=2)
    found = compared(tmp_path, [replace(same, number=number) for number in range(50)])
    assert looked == {"0-0": 1, "0-1": 1}
    assert (found.images, found.seeds) == (100, 2)


WANTED = [
    Wanted(label, seed, steps, schedule, guidance)
    for label, seed in ((0, 5), (3, 6), (0, 6))
    for steps, guidance in ((4, None), (None, 3.0))
    for schedule in ("dense", "mixed")
]


def is_like(found: Pixels, wanted: Pixels) -> bool:
    apart = np.abs(found.astype(int) - wanted)
    allowed = TOLERANCES["float32"]
    return bool(apart.mean() <= allowed.mean and apart.max() <= allowed.most)


@pytest.fixture(scope="module")
def made(tiny_bundle: Bundle) -> list[Pixels]:
    """What the bundle makes of all that is wanted."""
    return list(made_by_bundle(tiny_bundle, "cpu")(WANTED))


def test_a_bundle_s_references_are_what_its_engine_answers_in_any_company(
    tiny_bundle: Bundle, made: list[Pixels]
) -> None:
    engine = Engine(tiny_bundle, open_backend("onnxruntime", tiny_bundle, "cpu"))
    futures = [engine.submit(want.request(tiny_bundle)) for want in WANTED]
    pair = engine.submit(Request(prompt=of_label(0), seed=5, images=2, steps=4, schedule="dense"))
    engine.start()
    try:
        images = [np.asarray(to_image(future.result().images[0])) for future in futures]
        assert all(is_like(image, reference) for image, reference in zip(images, made, strict=True))
        first, second = (np.asarray(to_image(image)) for image in pair.result().images)
        assert is_like(first, made[WANTED.index(Wanted(0, 5, 4, "dense", None))])
        assert is_like(second, made[WANTED.index(Wanted(0, 6, 4, "dense", None))])
    finally:
        engine.close(drain=False)


def test_references_of_other_seeds_labels_steps_and_guidance_are_others(made: list[Pixels]) -> None:
    dense = [image for want, image in zip(WANTED, made, strict=True) if want.schedule == "dense"]
    assert not any(is_like(one, other) for i, one in enumerate(dense) for other in dense[:i])


def engines() -> int:
    return sum(thread.name == "diffes-engine" for thread in threading.enumerate())


def test_the_engine_ends_with_the_references(tiny_bundle: Bundle) -> None:
    before = engines()
    make = made_by_bundle(tiny_bundle, "cpu")
    coming = make(WANTED)
    next(coming)
    assert engines() == before + 1
    coming.close()  # type: ignore[attr-defined]
    assert engines() == before
    with pytest.raises(InvalidInput, match="steps"):
        list(make([Wanted(0, 0, 10**6, "dense", None)]))
    assert engines() == before


def test_a_service_s_references_are_those_of_its_bundle(target: Target, made: list[Pixels]) -> None:
    found = list(made_by_service(target)(WANTED))
    assert all(is_like(image, reference) for image, reference in zip(found, made, strict=True))


def test_what_a_real_service_answers_is_right_and_swapped_is_wrong(
    target: Target, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    asked = [Asked(label=label, seed=seed, images=2, steps=4) for label, seed in ((0, 5), (3, 9))]
    with asking(target.url, key=target.key, images=tmp_path) as asker:
        rows = [one(asker, each) for each in [*asked, *asked]]
    make = made_by_bundle(tiny_bundle, "cpu")
    found = compare_images(rows, None, tmp_path, make, "torch", TOLERANCES["float32"])
    assert (found.images, found.seeds, found.wrong) == (8, 4, [])
    rows[0] = replace(rows[0], digests=rows[1].digests)
    assert len(compare_images(rows, None, tmp_path, make, "torch", TOLERANCES["bfloat16"]).wrong) == 2


def told_by(script: Script) -> str:
    """How it is told that there is no reference."""
    with serving(script) as server, pytest.raises(LoadTestError) as error:
        list(made_by_service(Target(server.url, "secret"))([Wanted(3, 5, None, "fast", None)]))
    assert {exchange.headers["authorization"] for exchange in server.seen} == {"Bearer secret"}
    asked = {"label": 3, "seed": 5, "schedule": "fast", "deterministic": True, "response": "json"}
    assert [exchange.body for exchange in server.seen] == [asked]
    return str(error.value)


def test_a_service_that_makes_no_reference_is_an_error() -> None:
    refused = told_by(after(lambda exchange: refuse(exchange, NotReady("not yet"))))
    assert refused.startswith("no reference image: expected an answer, found 503 ")
    lost = told_by(after(lambda exchange: exchange.close()))
    assert lost.startswith("no reference image: expected an answer, found RemoteProtocolError")

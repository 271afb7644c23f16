"""What is asked for: in the shares that are said, the same again from the same seed, and as the service takes it."""

import json
from collections import Counter
from collections.abc import Callable
from math import inf, sqrt
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diffes.engine.request import MAX_SEED
from diffes.serving.schema import GenerateBody
from diffes.wording import ClassNames
from loadtest.mix import DEFAULT, Asked, Mix
from tests.prompting import labelled

DRAWS = 4000
LABELS = 10
FULL = Mix(
    schedules={DEFAULT: 1, "fast": 2, "dense": 5},
    steps={DEFAULT: 1, 10: 1, 20: 2},
    images={1: 3, 4: 1},
    guidance=2.5,
    stream=0.25,
    previews=3,
    leave=0.1,
    leave_after=(0.5, 2.0),
    timeout=30,
    deterministic=True,
)

mixes = st.builds(
    Mix,
    seeds=st.none() | st.integers(1, 50),
    schedules=st.dictionaries(st.sampled_from([DEFAULT, "fast", "dense"]), st.floats(0.1, 10), min_size=1),
    steps=st.dictionaries(st.just(DEFAULT) | st.integers(1, 100), st.floats(0.1, 10), min_size=1),
    images=st.dictionaries(st.integers(1, 16), st.floats(0.1, 10), min_size=1),
    guidance=st.none() | st.floats(1, 20),
    stream=st.floats(0, 1),
    previews=st.integers(0, 16),
    leave=st.floats(0, 1),
    timeout=st.none() | st.floats(0.1, 100),
    deterministic=st.booleans(),
)


def drawn(mix: Mix, seed: int = 0, count: int = DRAWS) -> list[Asked]:
    rng = Random(seed)
    return [mix.draw(rng, LABELS) for _ in range(count)]


def is_share(found: int, share: float) -> bool:
    """Within five standard deviations of a binomial count: one in two million is not."""
    return abs(found - share * DRAWS) <= 5 * sqrt(DRAWS * share * (1 - share))


@pytest.mark.parametrize(
    ("of", "shares"),
    [
        (lambda asked: asked.schedule, {None: 1 / 8, "fast": 2 / 8, "dense": 5 / 8}),
        (lambda asked: asked.steps, {None: 1 / 4, 10: 1 / 4, 20: 2 / 4}),
        (lambda asked: asked.images, {1: 3 / 4, 4: 1 / 4}),
        (lambda asked: asked.stream, {True: 1 / 4, False: 3 / 4}),
        (lambda asked: asked.leaves is not None, {True: 0.1, False: 0.9}),
        (lambda asked: asked.label, dict.fromkeys(range(LABELS), 1 / LABELS)),
    ],
    ids=["schedules", "steps", "images", "stream", "leave", "labels"],
)
def test_shares_are_as_they_are_said(of: Callable[[Asked], object], shares: dict[object, float]) -> None:
    found = Counter(of(asked) for asked in drawn(FULL))
    assert found.keys() == shares.keys()
    assert all(is_share(found[value], share) for value, share in shares.items())


def test_what_is_drawn_for_one_thing_tells_nothing_of_another() -> None:
    found = drawn(FULL)
    assert is_share(sum(asked.stream and asked.images == 4 for asked in found), 1 / 16)
    assert is_share(sum(asked.schedule == "dense" and asked.steps == 20 for asked in found), 5 / 16)


def test_callers_leave_at_any_time_between_the_two() -> None:
    leaves = [asked.leaves for asked in drawn(FULL) if asked.leaves is not None]
    assert 0.5 <= min(leaves) < 0.55
    assert 1.95 < max(leaves) <= 2.0


def test_only_who_streams_hears_of_previews() -> None:
    assert {(asked.stream, asked.previews) for asked in drawn(FULL)} == {(True, 3), (False, 0)}


def test_what_is_not_drawn_is_the_same_in_all() -> None:
    found = {(asked.guidance, asked.timeout, asked.deterministic) for asked in drawn(FULL)}
    assert found == {(2.5, 30.0, True)}


def test_a_mix_of_which_nothing_is_said_leaves_all_to_the_service() -> None:
    asked = drawn(Mix(), count=1)[0]
    assert asked.body() == {"label": asked.label, "seed": asked.seed, "response": "json"}
    assert (asked.stream, asked.leaves) == (False, None)


def test_every_request_has_a_seed_of_its_own() -> None:
    assert len({asked.seed for asked in drawn(Mix())}) == DRAWS


@given(st.integers(1, 20))
def test_few_seeds_are_few_images_each_always_of_the_same_label(seeds: int) -> None:
    found = {(asked.label, asked.seed) for asked in drawn(FULL.model_copy(update={"seeds": seeds}), count=200)}
    assert len(found) <= seeds
    assert len({seed for _, seed in found}) == len(found)


def test_all_seeds_come_and_other_tests_ask_for_the_same() -> None:
    mix = Mix(seeds=20)
    first, second = ({(asked.label, asked.seed) for asked in drawn(mix, seed)} for seed in (1, 2))
    assert len(first) == 20
    assert first == second


@given(mixes, st.integers(0, 1000))
def test_the_same_random_numbers_give_the_same_requests(mix: Mix, seed: int) -> None:
    assert drawn(mix, seed, count=20) == drawn(mix, seed, count=20)


def test_other_random_numbers_give_others() -> None:
    assert drawn(FULL, 1) != drawn(FULL, 2)


@given(mixes, st.integers(0, 1000))
def test_the_service_takes_every_body_as_it_was_meant(mix: Mix, seed: int) -> None:
    for asked in drawn(mix, seed, count=5):
        body = GenerateBody.parse(json.dumps(asked.body()).encode())
        meant = body.request(ClassNames([f"class {index}" for index in range(LABELS)], labelled(*range(LABELS))), "id")
        assert (meant.prompt.wanted["labels"], meant.seed, meant.images) == (asked.label, asked.seed, asked.images)
        assert (meant.steps, meant.schedule, meant.guidance) == (asked.steps, asked.schedule, asked.guidance)
        assert (meant.timeout, meant.deterministic) == (asked.timeout, asked.deterministic)
        assert meant.previews == asked.previews
        assert body.response == "json"
        assert asked.seed + asked.images - 1 <= MAX_SEED


@given(mixes)
def test_a_mix_survives_its_file(mix: Mix) -> None:
    assert Mix.model_validate_json(mix.model_dump_json()) == mix


def test_times_are_in_units() -> None:
    scaled = FULL.scaled(0.1)
    assert scaled.timeout == pytest.approx(3.0)
    assert scaled.leave_after == pytest.approx((0.05, 0.2))
    assert scaled.model_copy(update={"timeout": FULL.timeout, "leave_after": FULL.leave_after}) == FULL


@pytest.mark.parametrize(
    "told",
    [
        {"seeds": 0},
        {"schedules": {}},
        {"schedules": {"fast": 0}},
        {"schedules": {"fast": -1}},
        {"steps": {0: 1}},
        {"steps": {"many": 1}},
        {"images": {0: 1}},
        {"images": {17: 1}},
        {"images": {1: inf}},
        {"guidance": 0.5},
        {"stream": 1.1},
        {"leave": -0.1},
        {"leave_after": (2.0, 1.0)},
        {"leave_after": (-1.0, 1.0)},
        {"previews": 17},
        {"timeout": 0},
        {"timeout": inf},
        {"prompt": "a cat"},
    ],
    ids=str,
)
def test_what_makes_no_mix_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Mix.model_validate(told)


def test_a_service_that_reads_texts_is_asked_for_them() -> None:
    rng, texts = Random(1), ("a cat", "a dog")
    asked = [Mix().draw(rng, 0, texts) for _ in range(50)]

    assert {(each.label, each.text) for each in asked} == {(0, "a cat"), (1, "a dog")}
    assert asked[0].body()["prompt"] == asked[0].text
    assert "label" not in asked[0].body()


def test_sizes_are_drawn_in_their_shares() -> None:
    mix, rng = Mix(sizes={DEFAULT: 1, "24x16": 3}), Random(2)
    sizes = Counter(mix.draw(rng, LABELS).size for _ in range(DRAWS))

    assert sizes.keys() == {None, "24x16"}
    assert sizes["24x16"] / DRAWS == pytest.approx(0.75, abs=0.03)
    assert Asked(label=0, seed=0, size="24x16").body()["size"] == "24x16"

import dataclasses
import json
from typing import Any

import pytest

from diffes.errors import CheckpointError, InvalidInput
from diffes.pruning.spec import CalibrationSpec, read_damping
from diffes.schedule import Sampler


def test_a_digest_depends_on_model_and_spec() -> None:
    spec = CalibrationSpec(Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5))
    others = [
        dataclasses.replace(spec, images=spec.images + 1),
        dataclasses.replace(spec, damping=1e-2),
        dataclasses.replace(spec, sampler=Sampler(class_name="DDIMScheduler", steps=5, guidance=1.5)),
    ]
    digests = {spec.digest("a"), spec.digest("b"), *(other.digest("a") for other in others)}
    assert len(digests) == 5
    assert spec.digest("a") == dataclasses.replace(spec).digest("a")


def test_specs_that_differ_in_their_ordering_share_a_digest() -> None:
    assert dataclasses.replace(SPEC, ordering="energy").digest("a") == SPEC.digest("a")


SPEC = CalibrationSpec(Sampler(class_name="EulerDiscreteScheduler", steps=7, guidance=1.0), images=3, damping=0.5)


def test_a_spec_survives_json() -> None:
    assert CalibrationSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC


@pytest.mark.parametrize(
    "document", [None, [], {}, SPEC.to_json() | {"images": "many"}, SPEC.to_json() | {"labels": 3}], ids=str
)
def test_a_malformed_spec_is_refused(document: Any) -> None:
    with pytest.raises(CheckpointError, match="calibration spec is malformed"):
        CalibrationSpec.from_json(document)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("images", 0),
        ("batch", -1),
        ("token_share", 0.0),
        ("token_share", 1.5),
        ("damping", 0.0),
        ("data", "abc"),
    ],
)
def test_a_spec_that_could_not_run_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"calibration {field}"):
        CalibrationSpec.from_json(SPEC.to_json() | {field: value})


def test_a_single_image_leaves_none_to_hold_out() -> None:
    with pytest.raises(InvalidInput, match="2 or more, to hold some out"):
        dataclasses.replace(SPEC, images=1, damping="auto")
    assert dataclasses.replace(SPEC, images=1).images == 1


def test_a_damping_is_auto_or_a_number() -> None:
    assert read_damping("auto") == "auto"
    assert read_damping("1e-3") == 0.001
    with pytest.raises(InvalidInput, match="found some"):
        read_damping("some")

import pytest

from diffes.errors import InvalidInput
from diffes.manifest import DTYPES, dtype_named


def test_every_type_a_bundle_can_hold_is_found_by_its_name() -> None:
    assert [dtype_named(name) for name in DTYPES] == list(DTYPES)


@pytest.mark.parametrize("wrong", ["int8", "", "Float32", "fp16"])
def test_another_type_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="float32, float16, bfloat16"):
        dtype_named(wrong)

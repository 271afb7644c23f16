"""Which class a caller means."""

import pytest

from diffes.errors import InvalidInput
from diffes.labels import label_in, label_of

NAMES = ("cat", "dog", "truck", "fire truck", "box", "puppy", "tabby, tabby cat", "Egyptian cat")


@pytest.mark.parametrize(("label", "id_"), [("cat", 0), ("DOG", 1), (3, 3), ("3", 3), ("tabby, tabby cat", 6)])
def test_a_label_is_an_id_or_a_name_in_any_case(label: str | int, id_: int) -> None:
    assert label_of(label, NAMES) == id_


def test_a_name_goes_before_an_id() -> None:
    assert label_of("0", ("9", "0")) == 1


@pytest.mark.parametrize("label", [-1, 8, "", "cats", "8", "-1", "٣"])
def test_another_label_is_refused_with_the_names(label: str | int) -> None:
    with pytest.raises(InvalidInput, match=r"expected 0\.\.7 or one of cat, dog, truck"):
        label_of(label, NAMES)


@pytest.mark.parametrize(
    ("prompt", "id_"),
    [
        ("cat", 0),
        ("A photo of a CAT, please.", 0),
        ("two dogs", 1),
        ("boxes of chocolate", 4),
        ("three puppies", 5),
        ("a red fire truck", 3),
        ("fire trucks in Berlin", 3),
        ("an egyptian cat", 7),
        ("a tabby", 6),
        ("the tabby cat", 6),
        ("a dog and another dog", 1),
    ],
)
def test_a_prompt_means_the_one_class_it_names(prompt: str, id_: int) -> None:
    assert label_in(prompt, NAMES) == id_


@pytest.mark.parametrize("prompt", ["", "a unicorn", "category", "concatenate", "!!!", "ca t"])
def test_a_prompt_that_names_no_class_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidInput, match="a text that names exactly one of cat, dog"):
        label_in(prompt, NAMES)


def test_a_prompt_that_names_several_classes_is_refused_with_them() -> None:
    with pytest.raises(InvalidInput, match="found 'a dog chases a cat', which names cat, dog"):
        label_in("a dog chases a cat", NAMES)


def test_a_class_named_beside_a_longer_name_that_holds_it_is_ambiguous() -> None:
    with pytest.raises(InvalidInput, match="which names truck, fire truck"):
        label_in("a truck behind a fire truck", NAMES)


def test_many_names_are_not_all_spelled_out() -> None:
    with pytest.raises(InvalidInput, match=r"label 19 and 80 more \(GET /v1/info\)"):
        label_of("cat", [f"label {i}" for i in range(100)])

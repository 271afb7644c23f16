from math import inf
from pathlib import Path

import pytest

from diffes.errors import SearchError
from diffes.schedule import ModelIdentity
from search.state import STATE_FILE, Generation, SearchState, open_state
from tests.search.conftest import small_options

MODEL = ModelIdentity.model_validate({"class": "DiTTransformer2DModel", "fingerprint": "ab" * 32})


def some_state() -> SearchState:
    return SearchState(
        options=small_options(table_levels=2),
        model=MODEL,
        table={"0/heads/1": 0.1 + 0.2, "0/heads/2": inf},
        memo=[((1, 2), 1e-17), ((2, 2), None)],
        generations=[Generation(number=0, best=0.5, mean=None, evaluations=2, seconds=1.5, best_genome=(1, 2))],
        population=[(1, 2), (2, 2)],
        random={"numpy": ["MT19937", [1, 2], 3, 0, 0.0]},
    )


def test_a_state_reads_back_as_it_was_written(tmp_path: Path) -> None:
    some_state().save(tmp_path)
    assert SearchState.load(tmp_path) == some_state()


def test_a_resume_of_nothing_begins(tmp_path: Path) -> None:
    state = open_state(tmp_path / "new", small_options(), MODEL, resume=True)
    assert state == SearchState(options=small_options(), model=MODEL)


def test_a_leftover_of_a_killed_write_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / f".{STATE_FILE}.x7a").write_text("{")
    open_state(tmp_path, small_options(), MODEL, resume=False)


def test_a_resume_of_another_model_is_refused(tmp_path: Path) -> None:
    SearchState(options=small_options(), model=MODEL).save(tmp_path)
    other = MODEL.model_copy(update={"fingerprint": "cd" * 32})
    with pytest.raises(SearchError, match="another model: expected DiTTransformer2DModel abab.*found .* cdcd"):
        open_state(tmp_path, small_options(), other, resume=True)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "surprise": 0}'])
def test_a_damaged_or_newer_state_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(SearchError, match="cannot read the search's state"):
        open_state(tmp_path, small_options(), MODEL, resume=True)

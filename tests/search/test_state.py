from math import inf
from pathlib import Path
from typing import Any

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
        code="c0de",
        budget="b0d6",
        evaluations={"table": 12},
        table={"0/heads/1": 0.1 + 0.2, "0/heads/2": inf},
        memos={"all": [((1, 2), 1e-17), ((2, 2), None)]},
        generations=[
            Generation(number=0, best=0.5, mean=None, schedules=2, evaluations=0.5, seconds=1.5, best_genome=(1, 2))
        ],
        population=[(1, 2), (2, 2)],
        objectives=[1e-17, None],
        random={"numpy": ["MT19937", [1, 2], 3, 0, 0.0]},
    )


def new_state(**changes: Any) -> SearchState:
    origin: dict[str, Any] = {"options": small_options(), "model": MODEL, "code": "c0de", "budget": "b0d6"}
    return SearchState(**(origin | changes))


def test_a_state_reads_back_as_it_was_written(tmp_path: Path) -> None:
    some_state().save(tmp_path)
    assert SearchState.load(tmp_path) == some_state()


def test_a_resume_of_nothing_begins(tmp_path: Path) -> None:
    assert open_state(tmp_path / "new", new_state(), resume=True) == new_state()


def test_a_leftover_of_a_killed_write_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / f".{STATE_FILE}.x7a").write_text("{")
    open_state(tmp_path, new_state(), resume=False)


def test_a_resume_of_another_model_is_refused(tmp_path: Path) -> None:
    new_state().save(tmp_path)
    other = MODEL.model_copy(update={"fingerprint": "cd" * 32})
    with pytest.raises(SearchError, match="another model: expected DiTTransformer2DModel abab.*found .* cdcd"):
        open_state(tmp_path, new_state(model=other), resume=True)


@pytest.mark.parametrize(("field", "what"), [("code", "code"), ("budget", "costs")])
def test_a_resume_under_other_code_or_costs_is_refused(tmp_path: Path, field: str, what: str) -> None:
    new_state().save(tmp_path)
    with pytest.raises(SearchError, match=f"began with other {what}.*found abcd"):
        open_state(tmp_path, new_state(**{field: "abcd"}), resume=True)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 2, "surprise": 0}'])
def test_a_damaged_or_newer_state_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(SearchError, match="cannot read the search's state"):
        open_state(tmp_path, new_state(), resume=True)

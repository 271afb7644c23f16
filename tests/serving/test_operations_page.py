"""docs/operations.md tells of every setting, and of its true default."""

from math import inf
from pathlib import Path

from diffes.serving.config import PREFIX
from diffes.serving.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
MARK = "<!-- settings -->"


def told() -> list[tuple[str, str]]:
    """Variable and default of every row of the page's table."""
    _, table, _ = PAGE.read_text().split(MARK)
    rows = [line.split(" | ") for line in table.strip().splitlines()[2:]]
    return [(row[0].strip("| `"), row[1].strip(" `")) for row in rows]


def true_defaults() -> list[tuple[str, str]]:
    return [(f"{PREFIX}{name.upper()}", _written(name)) for name in Settings.model_fields]


def _written(name: str) -> str:
    field = Settings.model_fields[name]
    if field.is_required():
        return "required"
    if field.default is None or field.default == inf:
        return "none"
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)


def test_the_page_names_every_setting_once_with_its_default_and_no_other() -> None:
    assert sorted(told()) == sorted(true_defaults())

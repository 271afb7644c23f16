"""Files of texts, one a line: what a model that reads them is calibrated, searched and compared with."""

from pathlib import Path

from diffes.errors import InvalidInput

SHIPPED = Path(__file__).parent / "texts.txt"
_LONGEST = 2000  # characters, as of a request


def read_texts(path: Path) -> tuple[str, ...]:
    """The lines of a file that say anything, each once; InvalidInput if there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidInput("prompts", expected="a text file, one prompt a line", found=error) from error
    texts = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not texts:
        raise InvalidInput("prompts", expected=f"one prompt a line in {path}", found="none")
    longest = max(map(len, texts))
    if longest > _LONGEST:
        raise InvalidInput("prompts", expected=f"lines of {_LONGEST} characters at most", found=longest)
    return texts

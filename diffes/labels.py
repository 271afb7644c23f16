"""Which class a caller means: by id, by name, or by a text that names exactly one."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from diffes.errors import InvalidInput

_LISTED = 20  # names an error message spells out


def label_of(label: str | int, names: Sequence[str]) -> int:
    """Class id of an exact name (any case) or of an id, as a number or its digits; InvalidInput lists the names."""
    if isinstance(label, str):
        matches = [i for i, name in enumerate(names) if name.casefold() == label.casefold()]
        if len(matches) == 1:
            return matches[0]
    number = int(label) if isinstance(label, int) or (label.isascii() and label.isdecimal()) else -1
    if 0 <= number < len(names):
        return number
    raise InvalidInput("label", expected=f"0..{len(names) - 1} or one of {_listed(names)}", found=repr(label))


def label_in(prompt: str, names: Sequence[str]) -> int:
    """Class id of the one class a text names; InvalidInput if it names none or several.

    A name with commas is a list of synonyms. Case and a plural of the last word do not matter; a name inside a longer
    one ("truck" in "fire truck") does not count.
    """
    words = re.findall(r"\w+", prompt.casefold())
    places = defaultdict(set)  # form of a word -> where it stands
    for place, word in enumerate(words):
        for form in _singulars(word):
            places[form].add(place)
    spans = {span: i for i, name in enumerate(names) for span in _spans(name, words, places)}
    outer = {i for span, i in spans.items() if not any(_inside(span, other) for other in spans)}
    if len(outer) == 1:
        return outer.pop()
    found = repr(prompt[:200]) + (f", which names {_listed([names[i] for i in sorted(outer)])}" if outer else "")
    raise InvalidInput("prompt", expected=f"a text that names exactly one of {_listed(names)}", found=found)


def _spans(name: str, words: list[str], places: Mapping[str, set[int]]) -> Iterator[tuple[int, int]]:
    """Where a name stands: first word and the one behind its last."""
    for synonym in name.split(","):
        *head, last = re.findall(r"\w+", synonym.casefold()) or [""]
        for place in {place for form in _singulars(last) for place in places.get(form, ())}:
            start = place - len(head)
            if start >= 0 and words[start:place] == head:
                yield start, place + 1


def _singulars(word: str) -> set[str]:
    """The word and what it may be an English plural of."""
    forms = {word}
    for ending, replacement in (("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            forms.add(word.removesuffix(ending) + replacement)
    return forms


def _inside(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span != other and other[0] <= span[0] and span[1] <= other[1]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more (GET /v1/info)" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more

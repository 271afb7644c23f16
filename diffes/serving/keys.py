"""API keys: named, known only by their digests, compared in constant time."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

from diffes.errors import InvalidInput

_LEAST = 16  # characters; `openssl rand -hex 16` gives 32


class _Key(NamedTuple):
    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys a service knows; none means that nobody is asked for one. Their text is not kept."""

    _known: tuple[_Key, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str], source: str) -> Self:
        """From entries `name:key` or `key`; InvalidInput names the source and the number of the entry, never its text.

        A key without a name is called by its number.
        """
        known: list[_Key] = []
        for number, entry in enumerate(entries, start=1):
            name, colon, key = entry.strip().partition(":")
            name, key = (name.strip(), key.strip()) if colon else (f"#{number}", name)
            if len(key) < _LEAST or not key.isascii() or not key.isprintable() or " " in key or not name:
                expected = f"name:key or key, the key {_LEAST} or more printable ASCII characters"
                raise InvalidInput(source, expected=expected, found=f"something else as entry {number}")
            if any(name == other.name for other in known):
                raise InvalidInput(source, expected="different names", found=f"entry {number} under a name of another")
            known.append(_Key(name, sha256(key.encode()).digest()))
        if not known:
            raise InvalidInput(source, expected="one key or more", found="none")
        return cls(tuple(known))

    @classmethod
    def read(cls, file: Path, source: str) -> Self:
        """From a file of one entry a line; empty lines and those that begin with # say nothing."""
        try:
            lines = [line.strip() for line in file.read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(source, expected="a file of keys", found=f"{file}: {type(error).__name__}") from error
        return cls.of([line for line in lines if line and not line.startswith("#")], f"{source}, {file}")

    def __bool__(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._known)

    def name_of(self, key: str) -> str | None:
        """The name of a key, or None. Takes as long for every key, right or wrong: all digests are compared."""
        digest = sha256(key.encode("utf-8", "surrogatepass")).digest()
        found = None
        for known in self._known:
            if hmac.compare_digest(known.digest, digest):
                found = known.name
        return found

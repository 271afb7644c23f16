"""Where settings come from: the environment, then the TOML file that DIFFES_CONFIG names. Unknown names are refused."""

import os
import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from diffes.errors import InvalidInput

PREFIX = "DIFFES_"
CONFIG = "DIFFES_CONFIG"
_ELSEWHERE = (CONFIG, "DIFFES_CACHE", "DIFFES_TENSORRT_BATCHES")  # read by others than Settings
# Kubernetes tells every pod of a Service named `diffes` by such variables.
_KUBERNETES = re.compile(r"DIFFES_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")


class ConfigFile(TomlConfigSettingsSource):
    """The file's settings, each under its name in lower case; paths are seen from the file's folder."""

    def __init__(self, settings: type[BaseSettings], file: Path, known: Iterable[str]) -> None:
        """InvalidInput for a file that cannot be read, and for the first key that is no setting."""
        try:
            super().__init__(settings, file)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InvalidInput(CONFIG, expected="a TOML file", found=f"{file}: {error}") from error
        if not file.is_file():
            raise InvalidInput(CONFIG, expected="a TOML file", found=f"{file}, which is not there")
        for key in self.toml_data:
            if key not in known:
                raise InvalidInput(f"{key} in {file}", expected=f"one of {', '.join(known)}", found="an unknown key")

    def __call__(self) -> dict[str, Any]:
        """What the file says."""
        told = super().__call__()
        folder = self.toml_file_path.parent.absolute() if isinstance(self.toml_file_path, Path) else Path()
        paths = [name for name in ("bundle", "api_keys_file") if isinstance(told.get(name), str)]
        return told | {name: folder / told[name] for name in paths}


def config_file() -> Path | None:
    """The file that the environment names."""
    return Path(named) if (named := os.environ.get(CONFIG)) else None


def require_known_variables(fields: Iterable[str]) -> None:
    """InvalidInput for a DIFFES_ variable that nothing reads: a typo must not leave a default in force."""
    known = [*(PREFIX + field.upper() for field in fields), *_ELSEWHERE]
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known and not _KUBERNETES.fullmatch(name):
            nearest = get_close_matches(name.upper(), known, 1, cutoff=0)[0]
            expected, remedy = (
                f"a known setting, such as {nearest}",
                "Correct or unset it; docs/operations.md lists all.",
            )
            raise InvalidInput(name, expected=expected, found="an unknown one", remedy=remedy)

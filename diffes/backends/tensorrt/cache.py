"""Engines on disk: one file each, a line of JSON that says what the engine is, and then the engine.

The name is a digest of everything an engine depends on, so an engine of another network, of other profiles, of
another version or for another kind of GPU is another file, and nothing is ever stale.
"""

import json
import logging
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from diffes.backends.tensorrt.build import Progress, build
from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import EngineSpec, Profile
from diffes.files import atomic_path, cache_folder

_FORMAT = 1  # of the file and of how build.py builds: raise it when either changes
_LONGEST_HEADER = 1 << 26

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineCache:
    """Engines of one package for one kind of GPU, `target`, in one folder."""

    folder: Path
    package: Package
    target: str

    @classmethod
    def default(cls, package: Package, target: str) -> "EngineCache":
        """In `$DIFFES_CACHE`, or in the user's cache folder."""
        return cls(cache_folder() / "engines", package, target)

    def path(self, spec: EngineSpec) -> Path:
        """Where the engine of this spec lies, or will."""
        key = json.dumps([_FORMAT, *self._identity(spec), [_record(p) for p in spec.profiles]], sort_keys=True)
        return self.folder / f"{sha256(key.encode()).hexdigest()[:16]}.engine"

    def load(self, spec: EngineSpec, progress: Progress = lambda _phase, _share: None) -> bytes:
        """The serialised engine; built now and kept if there is none, or if the file is damaged, which is logged.

        BackendError if it cannot be built.
        """
        path = self.path(spec)
        try:
            return _read(path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            logger.warning("%s is damaged (%s); building the engine again", path, error)
        logger.info("building %s with %d profiles", spec.network.name, len(spec.profiles))
        plan = build(self.package, spec, progress)
        _write(path, self._header(spec, plan), plan)
        return plan

    def _identity(self, spec: EngineSpec) -> tuple[str, str, str, str]:
        return spec.sha256, self.package.name, self.package.version, self.target

    def _header(self, spec: EngineSpec, plan: bytes) -> dict[str, object]:
        network, name, version, target = self._identity(spec)
        return {
            "format": _FORMAT,
            "network": network,
            "package": name,
            "version": version,
            "target": target,
            "bytes": len(plan),
            "sha256": sha256(plan).hexdigest(),
            "profiles": [asdict(profile) for profile in spec.profiles],
        }


def read_header(path: Path) -> dict[str, object]:
    """What an engine's file says of it; ValueError if it says nothing."""
    with path.open("rb") as file:
        return dict(json.loads(file.readline(_LONGEST_HEADER)))


def _record(profile: Profile) -> list[object]:
    """What of a profile an engine depends on: not the name of the graph it was made for."""
    return [profile.rows, profile.shapes]


def _write(path: Path, header: dict[str, object], plan: bytes) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(plan)


def _read(path: Path) -> bytes:
    header = read_header(path)
    with path.open("rb") as file:
        file.readline(_LONGEST_HEADER)
        plan = file.read()
    found = sha256(plan).hexdigest()
    if found != header.get("sha256"):
        raise ValueError(f"expected {header.get('bytes')} bytes of sha256 {header.get('sha256')}, found {found}")
    return plan

"""Run the locust file against a service."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LOCUSTFILE = Path(__file__).with_name("locustfile.py")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What every request of a load test asks for; None: the service's default."""

    images: int = 1
    steps: int | None = None
    schedule: str | None = None
    seed: int = 0


def run_load(host: str, *, users: int, seconds: float, asked: Asked | None = None, rows: Path | None = None) -> int:
    """Load `host` with `users` closed-loop users for `seconds`, print the table; 0 if every request was answered.

    `rows` takes one JSON object per request. Locust patches its process, so it runs in one of its own.
    """
    return subprocess.run(command(host, users, seconds, asked or Asked(), rows), check=False).returncode


def command(host: str, users: int, seconds: float, asked: Asked, rows: Path | None) -> list[str]:
    """The locust command line."""
    line = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    line += ["--loglevel", "WARNING", "--host", host, "-u", str(users), "-r", str(users)]
    line += ["-t", f"{max(round(seconds), 1)}s"]
    line += ["--images", str(asked.images), "--seed", str(asked.seed)]
    line += ["--steps", str(asked.steps)] if asked.steps is not None else []
    line += ["--schedule", asked.schedule] if asked.schedule is not None else []
    line += ["--rows", str(rows)] if rows is not None else []
    return line

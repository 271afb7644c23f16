"""`diffes <verb>`: the command line. Each verb parses, calls, and prints; the work is elsewhere."""

import sys

from rich.markup import escape

from diffes.cli import bench, engines, load, measure, offline, online, report, unpack
from diffes.cli.app import app
from diffes.cli.progress import console
from diffes.errors import DiffesError, InvalidInput, LoadTestError

__all__ = ["app", "bench", "engines", "load", "main", "measure", "offline", "online", "report", "unpack"]


def main() -> None:
    """Run the command line; what Diffes raises on purpose is printed as one sentence.

    Exits 2 for input, and for a load test that cannot be made: there 1 says what came of it. Else 1.
    """
    try:
        app()
    except DiffesError as error:
        console.print("[bold red]error:[/]", escape(str(error)), highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, (InvalidInput, LoadTestError)) else 1)

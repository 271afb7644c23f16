"""The application every verb is registered on."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from diffes import __version__

ORDER = (
    "unpack",
    "search",
    "report",
    "export",
    "inspect",
    "verify",
    "engines",
    "generate",
    "serve",
    "loadtest",
    "eval",
    "bench",
)  # as they are first needed


class _Workflow(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    cls=_Workflow,
    help="Search, export and serve diffusion models whose every stage runs on its own pruned slice of one set of"
    " weights. Start with `diffes search`, or with `diffes export --schedule uniform:0.375` to skip the search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diffes {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass

"""The playground at `/`: the files beside this one as a single response that asks no other host for anything."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse

_FOLDER = files(__package__)
_STYLE = re.compile(r'<link rel="stylesheet" href="([\w.]+)">')
_SCRIPT = re.compile(r'<script src="([\w.]+)"></script>')
# What is in the page may run and what it was served from may be asked; pictures are in the service's answers.
_POLICY = Template(
    "default-src 'none'; script-src $scripts; style-src $styles; img-src data:; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


async def playground(_: Request) -> HTMLResponse:
    """The page; there also while the service warms up, which it says by itself."""
    return HTMLResponse(_PAGE, headers=_HEADERS)


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """How a policy names an inline script or style."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _inlined() -> tuple[str, str]:
    """The page with its style and scripts in it, and the policy that allows these alone."""
    page = _text("index.html")
    styles, scripts = ([_text(name) for name in pattern.findall(page)] for pattern in (_STYLE, _SCRIPT))
    page = _STYLE.sub(lambda link: f"<style>{_text(link[1])}</style>", page)
    page = _SCRIPT.sub(lambda script: f"<script>{_text(script[1])}</script>", page)
    return page, _POLICY.substitute(scripts=" ".join(map(_source, scripts)), styles=" ".join(map(_source, styles)))


_PAGE, _CSP = _inlined()
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

"""One request over HTTP, and what became of it. Runs under gevent: whoever waits lets the others go on."""

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from gevent import Timeout
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError, HTTPSocketPoolResponse
from geventhttpclient.url import URL

from diffes.serving.origin import CLIENT_ID
from loadtest.plan import Call
from loadtest.rows import Fate, Row, StageRow

_CONNECTIONS = 20_000  # more than ever wait: else requests would queue here, where nobody sees it
_CONNECT_SECONDS = 10.0
_BLOCK = 1 << 16  # bytes that are read at once: an event may hold a large image
_PNG = b"\x89PNG\r\n\x1a\n"
_DIGEST = 32  # hex digits
_REFUSALS = (429, 503)  # nothing was begun; so with all of 4xx but what ended a request that was inside
_BEGUN = (410, 499)
_LOST = "closing"  # with a 503 of ours: it was inside when its engine ended
_TOLD = 200  # characters of an error


class Malformed(Exception):
    """An answer that is none."""


class _Heard(NamedTuple):
    """What a request came to, besides times of ours."""

    fate: Fate
    reason: str = ""
    status: int = 0
    told: Mapping[str, Any] = {}  # more fields of a row
    first: float | None = None


class Asker:
    """Asks one service. Different images are kept once each in `images`, named by their digests; None: not kept."""

    def __init__(self, url: str, *, patience: float, key: str = "", images: Path | None = None) -> None:
        where = URL(url)
        self._path = where.path.rstrip("/")
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self._http = HTTPClient.from_url(
            where,
            headers=headers,
            block_size=_BLOCK,
            concurrency=_CONNECTIONS,
            connection_timeout=_CONNECT_SECONDS,
            network_timeout=2 * patience,  # the patience itself is kept by `ask`
        )
        self._patience = patience
        self._images = images
        self._kept: set[str] = set()

    def close(self) -> None:
        """End the connections that are kept for more requests."""
        self._http.close()

    def ask(self, call: Call, name: str, began: float, due: float | None = None) -> Row:
        """Send a call and wait for its end, at most as long as its caller stays. `began` is the run's, by perf_counter.

        `due` is seconds since then; None: the call's own time.
        """
        sent, asked = perf_counter() - began, call.asked
        patience = Timeout(self._patience if asked.leaves is None else asked.leaves)
        patience.start()
        try:
            heard = self._stream(call, name) if asked.stream else self._plain(call, name)
        except Timeout as timeout:
            if timeout is patience and asked.leaves is not None:
                heard = _Heard("left")
            else:
                heard = _Heard("failed", f"no answer within {self._patience:g} s")
        except (OSError, HTTPParseError, Malformed) as error:
            heard = _Heard("failed", _lost(error))
        finally:
            patience.close()
        return Row(
            number=call.number,
            due=call.at if due is None else due,
            sent=sent,
            ended=perf_counter() - began,
            fate=heard.fate,
            reason=heard.reason,
            status=heard.status,
            first=None if heard.first is None else heard.first - began,
            **_repeated(call),
            **heard.told,
        )

    def _plain(self, call: Call, name: str) -> _Heard:
        with self._post("/generate", call, name) as answer:
            if answer.status_code != 200:
                return _ended_badly(answer)
            return _Heard("answered", status=200, told=self._answer(answer.read(), call))

    def _stream(self, call: Call, name: str) -> _Heard:
        first, heard = None, None
        with self._post("/generate/stream", call, name) as answer:
            if answer.status_code != 200:
                return _ended_badly(answer)
            for kind, data in _events(answer):  # to its end, else the connection could not be used again
                if kind in ("progress", "preview", "result") and first is None:
                    first = perf_counter()
                if kind == "result":
                    heard = _Heard("answered", status=200, told=self._answer(data, call), first=first)
                elif kind == "error":
                    fate, reason = _error_in(data, None)
                    heard = _Heard(fate, reason, status=200, first=first)
        if heard is None:
            raise Malformed("the stream ended without a result")
        return heard

    def _post(self, path: str, call: Call, name: str) -> HTTPSocketPoolResponse:
        body = json.dumps(call.asked.body()).encode()
        return self._http.request("POST", self._path + path, body, {CLIENT_ID: name, "Accept": "application/json"})

    def _answer(self, text: bytes, call: Call) -> dict[str, Any]:
        try:
            answer = json.loads(text)
            pictures = [b64decode(image, validate=True) for image in answer["images"]]
            timings = answer["timings"]
            told = {
                "request_id": answer["id"],
                "served_by": answer["schedule"],
                "shed_from": answer["shed_from"] or "",
                "queue_seconds": timings["queue_seconds"],
                "total_seconds": timings["total_seconds"],
                "stages": tuple(StageRow(**stage) for stage in timings["stages"]),
            }
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Malformed(f"malformed answer, {type(error).__name__}: {error}") from error
        if len(pictures) != call.asked.images or not all(picture.startswith(_PNG) for picture in pictures):
            raise Malformed(f"expected {call.asked.images} PNG images, found {len(pictures)}, or no PNG")
        return told | {"digests": tuple(self._keep(picture) for picture in pictures)}

    def _keep(self, picture: bytes) -> str:
        digest = sha256(picture).hexdigest()[:_DIGEST]
        if self._images is not None and digest not in self._kept:
            self._kept.add(digest)
            (self._images / f"{digest}.png").write_bytes(picture)
        return digest


def _events(answer: HTTPSocketPoolResponse) -> Iterator[tuple[str, bytes]]:
    """Name and data of every server-sent event; comments have neither. By lines: their ends are found fast."""
    told: dict[bytes, bytes] = {}
    while line := answer.readline(b"\n"):
        if line := line.rstrip(b"\r\n"):
            name, _, value = line.partition(b": ")
            told[name] = value
        else:
            yield told.get(b"event", b"").decode(errors="replace"), told.get(b"data", b"")
            told = {}


def _ended_badly(answer: HTTPSocketPoolResponse) -> _Heard:
    status = answer.status_code
    fate, reason = _error_in(answer.read(), status)
    after = answer.get("retry-after")
    told = {"retry_after": float(after)} if isinstance(after, str) and after.isdecimal() else {}
    return _Heard(fate, reason, status, told)


def _error_in(body: bytes, status: int | None) -> tuple[Fate, str]:
    """Of an answer of that status; None: of an event in a stream that had begun, which is no refusal any more."""
    refused = status is not None and (status in _REFUSALS or (400 <= status < 500 and status not in _BEGUN))
    where = "in the stream," if status is None else str(status)
    try:
        error = json.loads(body)["error"]
        code, message = error["code"], error["message"][:_TOLD]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "refused" if refused else "failed", f"{where} {body[:_TOLD].decode(errors='replace')}"
    if refused and code != _LOST:
        return "refused", f"{where} {code}"
    return "failed", f"{where} {code}: {message}"


def _lost(error: Exception) -> str:
    if isinstance(error, Malformed):
        return str(error)
    if isinstance(error, ConnectionRefusedError):
        return "could not connect: nobody listens"
    return f"connection lost, {type(error).__name__}: {error}"[:_TOLD]


def _repeated(call: Call) -> dict[str, Any]:
    """What was asked, in the row."""
    asked = asdict(call.asked)
    return {name: asked[name] for name in ("label", "seed", "images", "steps", "schedule", "size", "stream")}

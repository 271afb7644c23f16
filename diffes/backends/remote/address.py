"""Where a Triton server is, as `--device` says it: HOST:PORT[/MODEL][?OPTION=VALUE&...]."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from diffes.backends.remote.protocol import MODEL
from diffes.errors import BackendError

_SWITCH = {"on": True, "off": False, "auto": None}
_TIMEOUT, _PATIENCE = 60.0, 10.0  # seconds
_FORM = "HOST:PORT[/MODEL][?shared_memory=auto|on|off&timeout=SECONDS&patience=SECONDS]"


@dataclass(frozen=True, slots=True)
class Address:
    """A model on a server's gRPC port, and how it is talked to."""

    host: str
    port: int
    model: str = MODEL
    shared_memory: bool | None = None  # None: if the address is a loopback one and the server sees this memory
    timeout: float = _TIMEOUT  # seconds one call may take
    patience: float = _PATIENCE  # seconds a lost connection is tried again

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `--device`; BackendError says what is wrong with it."""
        try:
            parts = urlsplit(f"//{text}")
            if parts.hostname is None or not parts.port:
                raise ValueError("no host and port")
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
            switch = options.pop("shared_memory", "auto")
            if switch not in _SWITCH:
                raise ValueError(f"shared_memory is {', '.join(_SWITCH)}")
            address = cls(
                host=parts.hostname,
                port=parts.port,
                model=parts.path.strip("/") or MODEL,
                shared_memory=_SWITCH[switch],
                timeout=_seconds(options.pop("timeout", str(_TIMEOUT))),
                patience=_seconds(options.pop("patience", str(_PATIENCE))),
            )
            if options:
                raise ValueError(f"no option {', '.join(options)}")
        except ValueError as error:
            raise BackendError(
                "triton runs elsewhere",
                expected=f"as device its server's gRPC address, {_FORM}",
                found=f"{text} ({error})",
                remedy="Triton listens for gRPC on port 8001 unless told otherwise.",
            ) from error
        return address

    @property
    def url(self) -> str:
        """What gRPC dials."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server can only be on this host."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text} is no number of seconds above 0")
    return seconds

"""The client's side: calls to one model of one Triton server, tried again if the connection was lost.

Every operation is a function of its inputs, so asking twice is harmless; only a lost connection is a reason to.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from diffes.backends.remote import protocol
from diffes.backends.remote.address import Address
from diffes.backends.remote.memory import Exchange, Shape, bytes_of, layout
from diffes.errors import BackendError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_LOST, _LATE, _UNKNOWN = "StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.NOT_FOUND"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0  # seconds between attempts, doubling
_CHANNEL = [  # messages as large as they get; a server that comes back is found at once
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Connection:
    """Not thread-safe, as a backend is not."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = InferenceServerClient(address.url, channel_args=_CHANNEL)
        self._exchange: Exchange | None = None

    @property
    def server(self) -> str:
        """The server and its model, for messages."""
        return f"the Triton server at {self._address.url} (model {self._address.model})"

    @property
    def uses_shared_memory(self) -> bool:
        """Whether tensors go through shared memory."""
        return self._exchange is not None

    def describe(self) -> protocol.Description:
        """What the server runs; BackendError if it is not reachable, has no such model, or speaks otherwise."""
        asked, wanted = {protocol.OPERATION: protocol.DESCRIBE}, {protocol.DESCRIPTION: None}
        content = self._insist(lambda: self._infer(asked, {}, wanted)).as_numpy(protocol.DESCRIPTION)
        text = "" if content is None else protocol.decode(torch.from_numpy(content.copy()))
        return protocol.Description.parse(text, self.server)

    def share_memory(self) -> None:
        """Use shared memory if the address says so; BackendError if it must be used and the server cannot."""
        wanted = self._address.shared_memory
        if wanted is False or (wanted is None and not self._address.is_loopback):
            return
        exchange = Exchange(self._client, self._address.timeout)
        try:
            exchange.region(1)
        except InferenceServerException as error:
            if wanted or error.status() in {_LOST, _LATE}:
                raise BackendError(
                    f"{self.server} cannot use this host's shared memory",
                    expected="a server on this host that sees its /dev/shm",
                    found=_said(error),
                    remedy="Leave shared_memory=on out, or give a container --ipc=host.",
                ) from error
            logger.warning("%s does not see this host's shared memory: tensors go through gRPC", self.server)
            return
        self._exchange = exchange

    def call(
        self, texts: Mapping[str, str], inputs: Mapping[str, Tensor], outputs: Mapping[str, Shape]
    ) -> dict[str, Tensor]:
        """Float32 outputs of the given shapes; BackendError if they cannot be had."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in inputs.items()}
        return self._insist(lambda: self._call(texts, tensors, outputs))

    def close(self) -> None:
        """Give memory back and hang up."""
        if self._exchange is not None:
            self._exchange.close()
        self._client.close()

    def _call(
        self, texts: Mapping[str, str], inputs: Mapping[str, Tensor], outputs: Mapping[str, Shape]
    ) -> dict[str, Tensor]:
        if self._exchange is None:
            given = {name: _typed(name, tensor).set_data_from_numpy(tensor.numpy()) for name, tensor in inputs.items()}
            result = self._infer(texts, given, dict.fromkeys(outputs))
            self._check(result, outputs)
            return {name: torch.from_numpy(result.as_numpy(name).copy()) for name in outputs}
        sources, targets, size = layout(inputs, outputs)
        region = self._exchange.region(size)
        given = {}
        for name, tensor in inputs.items():
            region.write(sources[name], tensor)
            given[name] = _typed(name, tensor).set_shared_memory(region.name, tensor.nbytes, sources[name])
        wanted = {name: (region.name, bytes_of(shape), targets[name]) for name, shape in outputs.items()}
        result = self._infer(texts, given, wanted)
        self._exchange.answered()
        self._check(result, outputs)
        return {name: region.read(targets[name], shape) for name, shape in outputs.items()}

    def _infer(
        self, texts: Mapping[str, str], inputs: Mapping[str, Any], outputs: Mapping[str, tuple[str, int, int] | None]
    ) -> Any:
        requested = []
        for name, place in outputs.items():
            requested.append(InferRequestedOutput(name))
            if place is not None:
                requested[-1].set_shared_memory(*place)
        return self._client.infer(
            self._address.model,
            [*(_text(name, text) for name, text in texts.items()), *inputs.values()],
            outputs=requested or None,
            client_timeout=self._address.timeout,
        )

    def _check(self, result: Any, outputs: Mapping[str, Shape]) -> None:
        """What came is what was asked for: memory would be read as anything."""
        for name, shape in outputs.items():
            output = result.get_output(name)
            found = "none" if output is None else f"{output.datatype} {tuple(output.shape)}"
            if found != f"FP32 {shape}":
                raise BackendError(f"{self.server} answered otherwise", expected=f"{name} as FP32 {shape}", found=found)

    def _insist(self, attempt: Callable[[], Result]) -> Result:
        """The attempt's result, tried again while the connection is lost, for as long as patience lasts after that."""
        lost, pause = None, _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except InferenceServerException as error:
                again = error.status() == _LOST or self._has_forgotten(error)
                if self._exchange is not None:
                    self._exchange.abandon()
                if not again:
                    raise self._failure(error) from error
                lost = lost or time.monotonic()
                if time.monotonic() + pause > lost + self._address.patience:
                    raise self._loss(error) from error
                logger.warning("%s is lost, trying again in %.1f s: %s", self.server, pause, error.message())
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _has_forgotten(self, error: InferenceServerException) -> bool:
        """Whether a call failed since a server that was restarted has never heard of its shared memory."""
        return error.status() != _LATE and self._exchange is not None and not self._exchange.is_known()

    def _failure(self, error: InferenceServerException) -> BackendError:
        if error.status() == _LATE:
            return BackendError(
                f"{self.server} did not answer in time",
                expected=f"an answer within {self._address.timeout:g} s",
                found="none",
                remedy="Append ?timeout=SECONDS to the address if calls may take longer.",
            )
        if error.status() == _UNKNOWN:
            return self._no_model(error)
        return BackendError(f"{self.server} failed", expected="an answer", found=_said(error))

    def _loss(self, error: InferenceServerException) -> BackendError:
        try:
            if self._client.is_server_live(client_timeout=self._address.timeout):
                return self._no_model(error)
        except InferenceServerException:
            logger.debug("%s is not live", self.server)
        return BackendError(
            f"{self.server} cannot be reached",
            expected=f"a connection within {self._address.patience:g} s",
            found=_said(error),
            remedy="Start tritonserver, or name its gRPC address with --device HOST:PORT.",
        )

    def _no_model(self, error: InferenceServerException) -> BackendError:
        return BackendError(
            f"the Triton server at {self._address.url} has not loaded the model",
            expected=f"model {self._address.model}, ready",
            found=_said(error),
            remedy="Its log says why; `diffes export --target triton` writes repositories, and HOST:PORT/MODEL names"
            " another model.",
        )


def _typed(name: str, tensor: Tensor) -> Any:
    return InferInput(name, list(tensor.shape), np_to_triton_dtype(tensor.numpy().dtype))


def _text(name: str, text: str) -> Any:
    content = protocol.encode(text)
    return InferInput(name, [len(content)], "UINT8").set_data_from_numpy(content.numpy())


def _said(error: InferenceServerException) -> str:
    return str(error.message()).strip()

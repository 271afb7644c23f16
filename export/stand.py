"""Steps of any stage plan as the onnxruntime backend runs them: a graph per plan over one blob, in a folder that is
thrown away."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from diffes.backends.sessions import open_session, provider_for, run_session
from diffes.blob import write_blob
from diffes.errors import InvalidInput
from diffes.latency.stand import Subject, UnorderedModel, example_inputs
from diffes.schedule import StagePlan
from export.pieces import denoiser_piece
from export.weights import Weights
from export.writer import BLOB, Progress, write_graphs


class OnnxRuntimeStand:
    """One session per plan on the blob's mapped pages."""

    def __init__(self, model: UnorderedModel, sessions: dict[StagePlan, Any], batch: int) -> None:
        self._sessions = sessions
        latents, conditions = example_inputs(model, batch)
        self._inputs = {"latents": latents, **conditions}

    def step(self, plan: StagePlan) -> Callable[[], Tensor]:
        """One step of `plan`; returns when the work is done."""
        session = self._sessions[plan]
        return lambda: run_session(session, self._inputs)[0]


@contextmanager
def onnxruntime_stand(
    subject: Subject,
    plans: Sequence[StagePlan],
    *,
    device: str,
    batch: int,
    dtype: str,
    threads: int | None,
    progress: Progress = lambda _phase, _share: None,
) -> Iterator[OnnxRuntimeStand]:
    """Write and open a graph per plan; BackendError for a device onnxruntime lacks, InvalidInput for a dtype."""
    if dtype != "float32":  # as export/job.py writes bundles
        raise InvalidInput("dtype", expected="float32 with onnxruntime", found=dtype)
    provider_for(device)
    model = UnorderedModel(subject, "cpu", torch.float32)
    with TemporaryDirectory(prefix="diffes-") as name:
        folder, weights = Path(name), Weights(model.dtype)
        dense = subject.architecture.dense
        weights.add_prefixes(model.prefixes(dense), model.tensors)  # whole tensors, before prefixes of them
        pieces = {plan: denoiser_piece(model, plan, weights) for plan in dict.fromkeys(plans)}
        write_blob(folder / BLOB, weights.tensors, {"model": subject.identity.fingerprint})
        write_graphs(folder, list(pieces.values()), verify=False, progress=progress)
        sessions = {plan: open_session(folder / piece.file, device, threads) for plan, piece in pieces.items()}
        try:
            yield OnnxRuntimeStand(model, sessions, batch)
        finally:
            sessions.clear()

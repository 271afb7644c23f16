"""What the kept inputs of a projection can do for the removed ones, in closed form.

With kept inputs S, removed inputs R, covariance C of all inputs (damped) and mean μ:

    W_S' = W_S + W_R C_RS C_SS⁻¹        b' = b + W_R μ_R - (W_S' - W_S) μ_S

This is least squares on the kept set and equals the OBS update of Diff-ES (arXiv 2603.05105) on it. Since every kept
set is a prefix, the Cholesky factor of each C_SS is the leading corner of one factor: one factorisation a layer
serves all its levels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from diffes.pruning.ordering import damped
from diffes.schedule import CompensationMode


class LayerCompensation:
    """Compensated projections of one layer for any prefix of its ordered inputs.

    projection [K, out], bias [out], mean [K], covariance [K, K], all in the layer's ordering. Results are float32.
    """

    def __init__(self, projection: Tensor, bias: Tensor, mean: Tensor, covariance: Tensor, damping: float) -> None:
        self._weight = projection.double()
        self._bias = bias.double()
        self._mean = mean.to(self._weight)
        self._covariance = damped(covariance.to(self._weight), damping)
        self._factor = torch.linalg.cholesky(self._covariance)

    def bias_only(self, rows: int) -> Tensor:
        """The bias [out] that adds what the removed inputs gave on average."""
        return (self._bias + self._mean[rows:] @ self._weight[rows:]).float()

    def full(self, rows: int) -> tuple[Tensor, Tensor]:
        """Projection [rows, out] and bias [out] for the first `rows` inputs."""
        if rows == 0:
            return self._weight[:0].float(), self.bias_only(0)
        removed = self._covariance[:rows, rows:] @ self._weight[rows:]  # [rows, out]
        gained = torch.cholesky_solve(removed, self._factor[:rows, :rows])
        bias = self._bias + self._mean[rows:] @ self._weight[rows:] - self._mean[:rows] @ gained
        return (self._weight[:rows] + gained).float(), bias.float()


def compensated_tensors(
    layer: LayerCompensation, rows: Iterable[int], mode: CompensationMode
) -> dict[int, tuple[Tensor | None, Tensor]]:
    """For each kept row count, the (projection or None, bias) that `mode` stores."""
    if mode == "none":
        return {}
    return {k: layer.full(k) if mode == "full" else (None, layer.bias_only(k)) for k in rows}

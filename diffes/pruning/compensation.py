"""What is left can do for what was removed, in closed form.

Of one layer, K projection inputs x and the entry h; kept inputs S, removed inputs R, joint covariance C (damped) and
means μ. Each mode is the least-squares answer to the lost W_Rᵀ x_R with what it may use:

    bias       a constant                b' = b + W_R μ_R
    full       the kept inputs           W_S' = W_S + C_SS⁻¹ C_SR W_R        b' = b + W_R μ_R - (W_S' - W_S) μ_S
    low-rank   r features of the entry   h A B_S beside W_S                  b' = b + W_R μ_R - B_S A μ_h

Full equals the OBS update of Diff-ES (arXiv 2603.05105) on the same kept set. Since every kept set is a prefix, the
Cholesky factor of each C_SS is the leading corner of one factor: one factorisation a layer serves all its levels.

Low-rank reads the entry, not the kept inputs. The entry is always whole, so one A [D, r] serves every level, and
only B_S [r, out] belongs to a level, whatever it keeps; a skipped half is made up for as well. In the bundled model's
layers, at equal bytes, this removes more error than factors of the full correction W_S' - W_S.
"""

import torch
from torch import Tensor

from diffes.pruning.moments import LayerMoments
from diffes.pruning.ordering import damped

_SPREAD = 8  # prefixes that the shared factor is fitted to: every eighth, whatever a schedule uses


class LayerCompensation:
    """Compensated projections of one layer for any prefix of its ordered inputs.

    projection [K, out], bias [out], moments of [x, h] with x [K] in the layer's ordering. Results are float32.
    """

    def __init__(self, projection: Tensor, bias: Tensor, moments: LayerMoments, damping: float) -> None:
        size = moments.inputs
        self._weight = projection.double()
        self._bias = bias.double()
        self._mean = moments.mean[:size]
        self._covariance = damped(moments.covariance[:size, :size], damping)
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


class LowRankCompensation:
    """Factors of one layer: `left` [D, r] for all its prefixes, and for each a right factor [r, out] and a bias.

    Arguments as for `LayerCompensation`. r is `rank`, but never more than the entry is wide: D features say all it
    does. The features h A are uncorrelated and of unit variance.
    """

    def __init__(self, projection: Tensor, bias: Tensor, moments: LayerMoments, damping: float, rank: int) -> None:
        size, covariance = moments.inputs, moments.covariance
        self._weight = projection.double()
        self._bias = bias.double()
        self._mean, self._entry_mean = moments.mean[:size], moments.mean[size:]
        self._cross = covariance[size:, :size]  # [D, K]
        root = torch.linalg.cholesky(damped(covariance[size:, size:], damping))
        self._left = self._shared_features(root, min(rank, len(root)))

    @property
    def left(self) -> Tensor:
        """The shared factor [D, r]."""
        return self._left.float()

    def right(self, rows: int) -> tuple[Tensor, Tensor]:
        """Factor [r, out] and bias [out] for the first `rows` inputs."""
        right = self._left.T @ self._cross[:, rows:] @ self._weight[rows:]
        bias = self._bias + self._mean[rows:] @ self._weight[rows:] - self._entry_mean @ self._left @ right
        return right.float(), bias.float()

    def _shared_features(self, root: Tensor, rank: int) -> Tensor:
        """The A that explains most: leading directions of the whitened regressions of evenly spread prefixes.

        A prefix's regression on whitened h is Z = L⁻¹ C_hR W_R, and |Z|² is what it explains; each counts the same.
        """
        total = root.new_zeros(len(root), len(root))
        for part in range(_SPREAD):
            rows = len(self._weight) * part // _SPREAD
            lost = self._cross[:, rows:] @ self._weight[rows:]
            explained = torch.linalg.solve_triangular(root, lost, upper=False)
            total += explained @ explained.T / explained.square().sum().clamp_min(1e-300)
        directions = torch.linalg.eigh(total).eigenvectors.flip(1)[:, :rank]
        features: Tensor = torch.linalg.solve_triangular(root.T, directions, upper=True)
        return features

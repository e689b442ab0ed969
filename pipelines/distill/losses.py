"""How far a student's features are from its teacher's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

__all__ = ["FeatureScale", "feature_loss"]


@dataclass(frozen=True)
class FeatureScale:
    """Mean and deviation of each teacher feature over the corpus.

    Parameters
    ----------
    mean, std : Tensor, (D,)
        Features that hardly vary get a deviation of at least 5 % of the mean one, so that a
        silent channel's noise is not blown up into a target.
    """

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(cls, features: NDArray[np.float16], device: torch.device) -> FeatureScale:
        """Measure on up to 20,000 rows, evenly spaced, of (n, n_views, D)."""
        rows = features.reshape(-1, features.shape[-1])
        sample = np.asarray(rows[:: max(1, len(rows) // 20_000)], np.float32)
        std = sample.std(axis=0)
        std = np.maximum(std, max(0.05 * float(std.mean()), 1e-6))
        mean = sample.mean(axis=0)
        return cls(torch.from_numpy(mean).to(device), torch.from_numpy(std).to(device))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise (B, D)."""
        return (x - self.mean) / self.std


def feature_loss(
    student: torch.Tensor, teacher: torch.Tensor, scale: FeatureScale, *, relational: float
) -> torch.Tensor:
    """Sum mean square, cosine and relational terms over standardised features.

    Parameters
    ----------
    student, teacher : Tensor, (B, D)
        Raw features.
    scale : FeatureScale
        The teacher's.
    relational : float
        Weight of the mean square between the two (B, B) matrices of cosines, as in
        similarity-preserving distillation (Tung & Mori 2019, arXiv 1907.09682), differing by the
        standardisation of the features before the cosine. O(B^2 D).

    Returns
    -------
    Tensor, ()
    """
    s, t = scale(student), scale(teacher)
    loss = functional.mse_loss(s, t)
    loss = loss + (1 - functional.cosine_similarity(s, t)).mean()
    if relational > 0:
        s, t = functional.normalize(s), functional.normalize(t)
        loss = loss + relational * functional.mse_loss(s @ s.T, t @ t.T)
    return loss

"""The linear classifier on the tuned features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

__all__ = ["UnitLinear", "random_head", "warm_head"]


class UnitLinear(nn.Module):
    """Scores that are linear in the direction of a vector, whatever its length.

    Rows are scaled to the length sqrt(n_features), so that an element is about 1 and weights are
    of the usual size; a row of zeros stays one, as in `featx.LinearProbeClassifier`.

    Parameters
    ----------
    n_features, n_classes : int

    Examples
    --------
    >>> head = UnitLinear(4, 3)
    >>> x = torch.rand(2, 4)
    >>> bool(torch.allclose(head(x), head(5 * x), atol=1e-6))
    True
    """

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_classes)
        self.length = math.sqrt(n_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_classes) scores of (B, n_features) vectors."""
        scores: torch.Tensor = self.linear(functional.normalize(x.float()) * self.length)
        return scores


def random_head(n_features: int, n_classes: int) -> UnitLinear:
    """Return a head with torch's random weights, from the current generator."""
    return UnitLinear(n_features, n_classes)


def warm_head(probe: Any) -> UnitLinear:
    """Return the head that gives a probe's probabilities.

    Parameters
    ----------
    probe : LinearProbeClassifier
        Fitted on normalised rows, method "logistic".

    Notes
    -----
    Start of the second step of LP-FT, linear probing then fine-tuning (Kumar et al. 2022,
    arXiv 2202.10054): a random head would first distort the features that it is given.
    """
    coef, intercept = probe.coef_, probe.intercept_
    if len(coef) == 1:
        # sigmoid(z) is the softmax of (-z / 2, z / 2).
        coef, intercept = _both(coef), _both(intercept)
    head = UnitLinear(coef.shape[1], len(coef))
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(coef / head.length))
        head.linear.bias.copy_(torch.from_numpy(intercept))
    return head


def _both(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([-row / 2, row / 2])

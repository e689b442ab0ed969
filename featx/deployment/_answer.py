"""From features to what `SavedModel.predict` says, as a module of torch that can be converted.

Arithmetic follows the estimators: scores in float32, probabilities and novelty in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch import nn

from featx.errors import ParameterError
from featx.estimators import (
    AttributeClassifier,
    LinearProbeClassifier,
    PCAWhitening,
    PowerNormalizer,
    SavedModel,
)
from featx.estimators.certainty import FALSE_ALARMS, LIKELY
from featx.estimators.novelty import LEAST_RANGE, N_NEAREST, ROUNDING, TIGHTNESS, Novelty

__all__ = ["Answer"]


class Answer(nn.Module):
    """A classifier with its calibration, and what new images are compared with.

    Parameters
    ----------
    saved : SavedModel
        A `LinearProbeClassifier` or `AttributeClassifier`, or a pipeline that ends in one.

    Attributes
    ----------
    outputs : tuple of str
        What `forward` returns, in order.

    Raises
    ------
    ParameterError
        If the model has a step that cannot be exported.
    """

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        steps = [s for _, s in saved.model.steps] if isinstance(saved.model, Pipeline) else []
        *before, final = steps or [saved.model]
        if not isinstance(final, LinearProbeClassifier | AttributeClassifier):
            raise _refuse(final)
        prepare = [_prepare(step) for step in before if step not in (None, "passthrough")]
        self.prepare = nn.Sequential(*prepare, *([Unit()] if final.normalize else []))
        self.has_attributes = saved.has_attributes
        slopes = final.slope_ if saved.certainty is None else saved.certainty.slopes
        self.coef, self.intercept = _wide(final.coef_.T, np.float32), _wide(
            final.intercept_, np.float32
        )  # fmt: skip
        self.slopes = _wide(np.atleast_1d(slopes))
        self.unknown = None if saved.certainty is None else Unknown(saved.certainty.novelty)
        known = () if self.unknown is None else ("unknown", "is_unknown")
        self.outputs = ("label", "confidence", "scores", *known)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Answer for features (n, n_features), float32."""
        raw = (self.prepare(features) @ self.coef + self.intercept).double()
        if self.has_attributes:
            scores = torch.sigmoid(self.slopes * raw)
            label = (scores > LIKELY).long()
            confidence = torch.maximum(scores, 1 - scores).mean(1)
            highest = torch.zeros_like(raw[:, 0])
        elif raw.shape[1] == 1:
            p = torch.sigmoid(self.slopes * raw)
            scores = torch.cat([1 - p, p], 1)
            label = (raw[:, 0] > 0).long()
            highest = raw[:, 0].abs()
        else:
            scores = torch.softmax(self.slopes * raw, 1)
            label, highest = raw.argmax(1), raw.amax(1)
        if not self.has_attributes:
            confidence = scores.gather(1, label[:, None])[:, 0]
        told = () if self.unknown is None else self.unknown(features, highest)
        return label, confidence, scores, *told


class Unknown(nn.Module):
    """`Novelty` with its usual rate of false alarms.

    Classes have different numbers of references. Each is filled up to as many as the largest has
    with columns that count as infinitely far.
    """

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        counts = novelty.counts[novelty.counts > 0]
        starts = np.cumsum(counts) - counts
        most = int(counts.max())
        places = starts[:, None] + np.minimum(np.arange(most), counts[:, None] - 1)
        self.most = most
        self.n_nearest = min(N_NEAREST, most)
        self.register_buffer("places", torch.from_numpy(places.ravel()))
        far = np.where(np.arange(most) < counts[:, None], 0, -np.inf).astype(np.float32)
        self.far = _wide(far, np.float32)
        self.references = _wide(novelty.references.T, np.float16)
        self.n_seen = _wide(np.minimum(counts, N_NEAREST))
        self.likeness = _wide(TIGHTNESS * novelty.likeness[novelty.counts > 0])
        self.weights, self.ranked = _wide(novelty.weights), _wide(novelty.training)
        self.n = len(novelty.training) + 1
        self.spread = max(float(np.ptp(novelty.training)), LEAST_RANGE) if self.n > 1 else 0.0
        self.least_rank = float(np.ceil((1 - FALSE_ALARMS) * self.n - ROUNDING))
        self.unit = Unit()

    def forward(self, features: torch.Tensor, highest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the share of training images that are less novel, and whether that is many."""
        cosines = self.unit(features) @ self.references.float()
        of_class = cosines[:, self.places].reshape(-1, len(self.n_seen), self.most) + self.far
        nearest = torch.topk(of_class, self.n_nearest, dim=2).values.double()
        sums = torch.where(torch.isinf(nearest), 0.0, nearest).sum(2)
        alike = (sums / self.n_seen - self.likeness).amax(1)
        novelty = -(self.weights[0] * alike + self.weights[1] * highest)
        ranks = (self.ranked < novelty[:, None]).double().sum(1)
        if self.n > 1:
            excess = (novelty - self.ranked[-1]).clamp(min=0)
            ranks = ranks + excess / (excess + self.spread)
        return ranks / self.n, torch.floor(ranks + ROUNDING) >= self.least_rank


class Unit(nn.Module):
    """`featx._arrays.scale_to_unit` of rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divide rows by their length."""
        x = x / _or_one(x.abs().amax(1, keepdim=True))
        return x / _or_one((x * x).sum(1, keepdim=True).sqrt())


class Power(nn.Module):
    """`PowerNormalizer` without its last step."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise magnitudes."""
        return x.sign() * x.abs() ** self.power


class Affine(nn.Module):
    """Rows less an offset, times a factor or a matrix."""

    def __init__(self, offset: Any, factor: Any) -> None:
        super().__init__()
        self.offset, self.factor = _wide(offset, np.float32), _wide(factor, np.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project or scale."""
        x = x - self.offset
        return x @ self.factor if self.factor.ndim == 2 else x * self.factor


def _prepare(step: Any) -> nn.Module:
    """Return one step of a pipeline before its classifier."""
    if isinstance(step, PowerNormalizer):
        return nn.Sequential(Power(float(step.power)), *([Unit()] if step.l2 else []))
    if isinstance(step, PCAWhitening):
        variance = step.explained_variance_
        scale = (variance + step.regularization * variance[0]) ** (-step.power / 2)
        middle = Affine(step.mean_, step.components_.T * scale)
        ends = [Unit()] if step.l2_before else [], [Unit()] if step.l2_after else []
        return nn.Sequential(*ends[0], middle, *ends[1])
    if isinstance(step, Normalizer) and step.norm == "l2":
        return Unit()
    if isinstance(step, StandardScaler):
        offset = step.mean_ if step.with_mean else 0.0
        return Affine(offset, 1 / step.scale_ if step.with_std else 1.0)
    raise _refuse(step)


def _refuse(step: Any) -> ParameterError:
    return ParameterError(
        f"model: {step!r:.80} cannot be exported, expected a LinearProbeClassifier or an "
        "AttributeClassifier, alone or after PowerNormalizer, PCAWhitening, Normalizer('l2') or "
        "StandardScaler; train one with featx train"
    )


def _or_one(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x == 0, 1.0, x)


def _wide(x: NDArray[Any] | Any, dtype: Any = np.float64) -> nn.Parameter:
    """Return an array as a tensor that is stored in the file once."""
    return nn.Parameter(torch.from_numpy(np.array(x, dtype)), requires_grad=False)

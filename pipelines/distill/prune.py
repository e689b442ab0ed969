"""Thin a network's blocks in closed form: drop hidden channels, then refit what reads them.

Each block keeps the hidden channels from which its output can be told best by a linear map, and
gets that map as its last convolution: He, Zhang & Sun 2017 (arXiv 1707.06168), with backward
elimination in place of the lasso. Blocks are thinned in order, each on the maps that the thinned
ones before it give, against the maps of the whole network, so a later block makes up for the error
of an earlier one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from featx._progress import Progress
from featx.backbones.embedded import InvertedResiduals, NetworkShape
from featx.errors import ParameterError

__all__ = ["keep_channels", "prune"]

POSITIONS = 60  # of each map; neighbours tell the same again
CHUNK = 50


@torch.no_grad()
def prune(
    whole: InvertedResiduals,
    shape: NetworkShape,
    views: torch.Tensor,
    *,
    seed: int = 0,
    progress: bool | None = None,
) -> InvertedResiduals:
    """Return a network of `shape` that computes about what `whole` computes.

    Parameters
    ----------
    whole : InvertedResiduals
        Stays as it is.
    shape : NetworkShape
        As that of `whole`, but for fewer hidden channels in blocks that have an expanding
        convolution. Time grows with the cube of a block's hidden channels.
    views : Tensor of float32, (n, 3, H, W)
        Normalised images to fit on; 60 positions of each map are used. Memory grows with n: all
        maps of one depth are held twice.
    seed : int, default 0
        Draws the positions.

    Raises
    ------
    ParameterError
        If `shape` differs in more than hidden channels.
    """
    _require_thinner(shape, whole.shape)
    thin = InvertedResiduals(shape).eval()
    for name in ("stem", "head"):
        getattr(thin, name).load_state_dict(getattr(whole, name).state_dict())
    rng = torch.Generator().manual_seed(seed)
    maps = torch.cat([functional.relu6(whole.stem(part)) for part in views.split(CHUNK)])
    ours = maps
    blocks = list(zip(cast("Any", whole.blocks), cast("Any", thin.blocks), strict=True))
    with Progress(len(blocks), "prune", unit="block", enabled=progress) as bar:
        for block, target in blocks:
            expected = torch.cat([block(part) for part in maps.split(CHUNK)])
            if target.project.in_channels == block.project.in_channels:
                target.load_state_dict(block.state_dict())
            else:
                _thin(block, target, ours, expected, rng)
            ours = torch.cat([target(part) for part in ours.split(CHUNK)])
            maps = expected
            bar.advance()
    return thin


def _require_thinner(shape: NetworkShape, whole: NetworkShape) -> None:
    same = replace(shape, blocks=whole.blocks) == whole and len(shape.blocks) == len(whole.blocks)
    rows = list(zip(shape.blocks, whole.blocks, strict=False))
    if not same or any(a[1:] != b[1:] or a[0] > b[0] for a, b in rows):
        raise ParameterError(
            f"shape: got {shape}, expected {whole} with fewer hidden channels at most"
        )


def _thin(block: Any, target: Any, x: torch.Tensor, y: torch.Tensor, rng: torch.Generator) -> None:
    """Copy the chosen channels of `block` to `target`, and fit its last convolution."""
    hidden, wanted = [], []
    for part, out in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        found = functional.relu6(block.depthwise(functional.relu6(block.expand(part))))
        at = torch.randperm(found[0, 0].numel(), generator=rng)[:POSITIONS]
        hidden.append(_rows(found, at))
        wanted.append(_rows(out - part if block.has_residual else out, at))
    scale = np.concatenate([_rows(part, at) for part in y.split(CHUNK)]).std(axis=0)
    n_kept = target.project.in_channels
    kept, fitted = keep_channels(np.concatenate(hidden), np.concatenate(wanted) / scale, n_kept)
    fitted *= scale
    rows = torch.from_numpy(kept)
    for name in ("expand", "depthwise"):
        for kind in ("weight", "bias"):
            getattr(getattr(target, name), kind).copy_(getattr(getattr(block, name), kind)[rows])
    target.project.weight.copy_(torch.from_numpy(fitted[:-1].T)[:, :, None, None])
    target.project.bias.copy_(torch.from_numpy(fitted[-1]))


def _rows(maps: torch.Tensor, at: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = maps.flatten(2)[:, :, at].transpose(1, 2).flatten(0, 1).numpy()
    return found


def keep_channels(
    X: NDArray[np.floating], Y: NDArray[np.floating], n: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Choose the `n` columns of X from which Y is a linear function with the least error.

    Backward elimination: each turn drops the column whose loss raises the sum of squares least,
    which is the square of its coefficients over the diagonal of the inverse of the Gram matrix.
    O(d^3) in the columns d of X.

    Parameters
    ----------
    X, Y : ndarray, (rows, d), (rows, targets)
        Without a column for the constant term, which is added.
    n : int
        From 1 to d.

    Returns
    -------
    kept : ndarray of int, (n,)
        Ascending.
    coefficients : ndarray of float64, (n + 1, targets)
        Of the columns kept; the last row is the constant term.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> kept, coefficients = keep_channels(X, X[:, [1]] - 2 * X[:, [4]] + 3, 2)
    >>> kept, coefficients.round(3).ravel()
    (array([1, 4]), array([ 1., -2.,  3.]))
    """
    padded = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    gram, cross = padded.T @ padded / len(X), padded.T @ Y / len(X)
    gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
    inverse, kept = np.linalg.inv(gram), np.arange(len(gram))
    while len(kept) > n + 1:
        cost = np.square(inverse @ cross[kept]).sum(axis=1) / np.diag(inverse)
        cost[-1] = np.inf
        worst = int(np.argmin(cost))
        inverse -= np.outer(inverse[:, worst], inverse[worst]) / inverse[worst, worst]
        inverse = np.delete(np.delete(inverse, worst, 0), worst, 1)
        kept = np.delete(kept, worst)
    return kept[:-1], np.linalg.solve(gram[np.ix_(kept, kept)], cross[kept])

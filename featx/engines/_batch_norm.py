"""Batch normalisation folded into the convolution before it: the same function in fewer steps.

In eval mode it scales and shifts each channel, which the convolution's weights and bias can do as
well (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", equation 14). Which convolution stands before which
normalisation, a pass shows; a second one, whether the folded network gives the same.
"""

from __future__ import annotations

import copy
import functools
import logging
import weakref
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["Folded", "fold_batch_norms", "has_batch_norms"]

# Largest difference of an output, as a share of its largest element: float32 and some hundred
# layers.
TOLERANCE = 1e-4
N_SAMPLED = 4096
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folded:
    """A network without the batch normalisations that follow a convolution.

    Parameters
    ----------
    module : nn.Module
        Float32; shares with the original what is as it was.
    changed : frozenset of str
        Convolutions whose outputs are those of their normalisation now.
    """

    module: nn.Module
    changed: frozenset[str]


def has_batch_norms(module: nn.Module) -> bool:
    """Tell whether there is anything that `fold_batch_norms` might fold."""
    return any(_is_foldable_norm(part) for part in module.modules())


@torch.no_grad()  # not inference mode, whose tensors some kernels refuse as weights
def fold_batch_norms(module: nn.Module, x: torch.Tensor) -> Folded | None:
    """Return the network with its batch normalisations folded, where that changes nothing.

    Parameters
    ----------
    module : nn.Module
        In eval mode and float32; not changed.
    x : Tensor of shape (n, C, H, W), float32
        Trial images. Costs two passes of them.

    Returns
    -------
    Folded or None
        None where nothing can be folded, or a module would give other outputs: one whose
        convolution is also read by something else does.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval()
    >>> folded = fold_batch_norms(net, torch.rand(1, 3, 8, 8))
    >>> folded.module
    Sequential(
      (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
    )
    >>> folded.changed
    frozenset({'0'})
    """
    before = _TrialPass(module, x)
    if not before.pairs:
        return None
    shared = {id(p): p for p in (*module.parameters(), *module.buffers())}
    try:
        folded = copy.deepcopy(module, shared)
    except (TypeError, RuntimeError) as err:
        log.debug("batch norms are not folded: the network cannot be copied (%s)", err)
        return None
    for conv, norm in before.pairs.items():
        _fold(folded.get_submodule(conv), module.get_submodule(norm))
        parent, _, name = norm.rpartition(".")
        setattr(folded.get_submodule(parent), name, nn.Identity())
    if not before.agrees_with(_TrialPass(folded, x)):
        log.debug("batch norms are not folded: the network would give something else")
        return None
    return Folded(folded.eval(), frozenset(before.pairs))


class _TrialPass:
    """What one pass of trial images shows.

    Attributes
    ----------
    pairs : dict of str to str
        Normalisations by the convolution whose output they take, each called once.
    """

    def __init__(self, module: nn.Module, x: torch.Tensor) -> None:
        # modules in order of execution: some elements of what each gives, and the largest of all
        self._outputs: list[tuple[str, torch.Tensor, float]] = []
        self._made: dict[int, tuple[weakref.ref[torch.Tensor], str]] = {}
        self._n_calls: Counter[str] = Counter()
        pairs: dict[str, str] = {}
        with ExitStack() as hooks:
            for name, part in module.named_modules():
                before = functools.partial(self._before, pairs, name)
                hooks.enter_context(part.register_forward_pre_hook(before))
                after = functools.partial(self._after, name)
                hooks.enter_context(part.register_forward_hook(after))
            module(x)
        once = {name for name, n in self._n_calls.items() if n == 1}
        self.pairs = {conv: norm for conv, norm in pairs.items() if {conv, norm} <= once}

    def _before(
        self, pairs: dict[str, str], name: str, part: nn.Module, inputs: tuple[Any, ...]
    ) -> None:
        self._n_calls[name] += 1
        if inputs and _is_foldable_norm(part):
            made = self._made.get(id(inputs[0]))
            if made is not None and made[0]() is inputs[0]:
                pairs[made[1]] = name

    def _after(self, name: str, part: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
            flat = output.detach().flatten()
            n = min(N_SAMPLED, len(flat))
            at = torch.linspace(0, len(flat) - 1, n, dtype=torch.float64).long()
            self._outputs.append((name, flat[at.to(flat.device)], float(flat.abs().max())))
            if _is_plain(part, nn.Conv2d):
                self._made[id(output)] = (weakref.ref(output), name)

    def agrees_with(self, other: _TrialPass) -> bool:
        """Tell whether another pass gave the same, but for convolutions that have been folded."""
        if [name for name, *_ in self._outputs] != [name for name, *_ in other._outputs]:
            return False
        return all(
            a.shape == b.shape and float((a - b).abs().max()) <= TOLERANCE * largest
            for (name, a, largest), (_, b, _) in zip(self._outputs, other._outputs, strict=True)
            if name not in self.pairs
        )


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    # of exactly this class, and without what would be called besides
    return type(module) is kind and not parametrize.is_parametrized(module)


def _is_foldable_norm(module: nn.Module) -> bool:
    return _is_plain(module, nn.BatchNorm2d) and module.running_var is not None


def _fold(conv: Any, norm: Any) -> None:
    w, b, mean, variance, gain, shift = _as_double(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias
    )
    folded = fuse_conv_bn_weights(w, b, mean, variance, norm.eps, gain, shift)
    conv.weight, conv.bias = (nn.Parameter(x.to(conv.weight), False) for x in folded)


def _as_double(*numbers: torch.Tensor | None) -> list[Any]:
    return [None if x is None else x.double() for x in numbers]

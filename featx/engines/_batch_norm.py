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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["Folded", "fold_batch_norms", "has_batch_norms"]

# Largest difference of an output, as a share of its largest element: float32 and some hundred
# layers.
TOLERANCE = 1e-4
N_SAMPLED = 4096
log = logging.getLogger(__name__)

Outputs = list[tuple[str, torch.Tensor, float]]
"""Modules in order of execution, with elements of their outputs and the largest of all."""


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
    finder = _Pairs()
    expected = _outputs(module, x, finder)
    pairs = finder.found()
    if not pairs:
        return None
    shared = {id(p): p for p in (*module.parameters(), *module.buffers())}
    try:
        folded = copy.deepcopy(module, shared)
    except (TypeError, RuntimeError) as err:
        log.debug("batch norms are not folded: the network cannot be copied (%s)", err)
        return None
    for before, norm in pairs.items():
        conv = folded.get_submodule(before)
        _fold(conv, module.get_submodule(norm))
        parent, _, name = norm.rpartition(".")
        setattr(folded.get_submodule(parent), name, nn.Identity())
    found = _outputs(folded, x)
    if not _same(expected, found, pairs):
        log.debug("batch norms are not folded: the network would give something else")
        return None
    return Folded(folded.eval(), frozenset(pairs))


class _Pairs:
    """Sees which normalisation takes the output of which convolution, each called once."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[weakref.ref[torch.Tensor], str]] = {}
        self._calls: dict[str, int] = {}
        self._pairs: dict[str, str] = {}

    def before(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        if not (inputs and _is_foldable_norm(module)):
            return
        made = self._made.get(id(inputs[0]))
        if made is not None and made[0]() is inputs[0]:
            self._pairs[made[1]] = name

    def after(self, name: str, module: nn.Module, output: Any) -> None:
        if _is_foldable_conv(module):
            self._made[id(output)] = (weakref.ref(output), name)

    def found(self) -> dict[str, str]:
        """Return names of normalisations by those of their convolutions."""
        once = {name for name, n in self._calls.items() if n == 1}
        return {conv: norm for conv, norm in self._pairs.items() if {conv, norm} <= once}


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    # of exactly this class, and without what would be called besides
    return type(module) is kind and not parametrize.is_parametrized(module)


def _is_foldable_conv(module: nn.Module) -> bool:
    return _is_plain(module, nn.Conv2d)


def _is_foldable_norm(module: nn.Module) -> bool:
    return _is_plain(module, nn.BatchNorm2d) and module.running_var is not None


def _fold(conv: Any, norm: Any) -> None:
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double()
        shift = shift + norm.bias.double()
    bias = shift if conv.bias is None else shift + conv.bias.double() * scale
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight), requires_grad=False)


def _outputs(module: nn.Module, x: torch.Tensor, pairs: _Pairs | None = None) -> Outputs:
    """Run the images, and keep some elements of what every module gives."""
    kept: Outputs = []

    def before(name: str, part: nn.Module, inputs: tuple[Any, ...]) -> None:
        if pairs is not None:
            pairs.before(name, part, inputs)

    def after(name: str, part: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
            flat = output.detach().flatten()
            n = min(N_SAMPLED, len(flat))
            at = torch.linspace(0, len(flat) - 1, n, dtype=torch.float64).long()
            kept.append((name, flat[at.to(flat.device)], float(flat.abs().max())))
            if pairs is not None:
                pairs.after(name, part, output)

    handles = []
    for name, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(functools.partial(before, name)))
        handles.append(part.register_forward_hook(functools.partial(after, name)))
    try:
        module(x)
    finally:
        for handle in handles:
            handle.remove()
    return kept


def _same(expected: Outputs, found: Outputs, pairs: Mapping[str, str]) -> bool:
    if [name for name, *_ in expected] != [name for name, *_ in found]:
        return False
    return all(
        a.shape == b.shape and float((a - b).abs().max()) <= TOLERANCE * largest
        for (name, a, largest), (_, b, _) in zip(expected, found, strict=True)
        if name not in pairs
    )

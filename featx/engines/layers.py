"""Find a network's layers by name, and read them during one forward pass.

A trial pass on one blank image tells what every module gives: how often it is called, in which
order, and the shape of its output. With that, a later pass reads several layers at once and stops
after the deepest of them.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from featx.errors import BackboneError, nearest, one_line

__all__ = [
    "OUTPUT",
    "PENULTIMATE",
    "LayerOutput",
    "Pooled",
    "Reads",
    "read_layers",
    "require_layer",
    "trace_layers",
]

PENULTIMATE = "penultimate"
OUTPUT = "output"
JOINED = re.compile(r"last([1-9][0-9]*)")
# The blocks of timm's transformers and of torchvision's, and the norm after the last of them.
BLOCKS = ((r"blocks\.[0-9]+", "norm"), (r"encoder\.layers\.encoder_layer_[0-9]+", "encoder.ln"))


@dataclass(frozen=True)
class LayerOutput:
    """What a layer gives for a blank image.

    Parameters
    ----------
    name : str
        Dotted name of the module, "penultimate" or "output".
    shape : tuple of int
        (1, C, H, W), (1, N, D) or (1, D); channels first whatever the network does.
    n_calls : int
        How often a pass calls the module; its last output counts.
    depth : int
        Order in which outputs become final.
    has_channels_last : bool
        Whether the network's own order is (1, H, W, C), as in Swin transformers.
    blocks : tuple of str
        Of "last4": the modules whose tokens are normed and joined, the earliest first.
    norm : str
        What norms them.
    """

    name: str
    shape: tuple[int, ...]
    n_calls: int
    depth: int
    has_channels_last: bool = False
    blocks: tuple[str, ...] = ()
    norm: str = ""

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the layers that it is read from: its own, or those of its blocks."""
        return self.blocks or (self.name,)

    def channels_first(self, x: torch.Tensor) -> torch.Tensor:
        """Return an output of this layer as (B, C, H, W)."""
        return x.permute(0, 3, 1, 2) if self.has_channels_last else x


def trace_layers(
    module: nn.Module, x: torch.Tensor, *, head: str | None, network: str
) -> dict[str, LayerOutput]:
    """Run one image and describe every layer whose output is a tensor.

    Parameters
    ----------
    module : Module
        In eval mode.
    x : Tensor of shape (1, 3, side, side)
        A blank image in the module's dtype, on its device.
    head : str or None
        Module whose input is the penultimate feature; None means the network's output is.
    network : str
        The network, for messages.

    Raises
    ------
    BackboneError
        If the network cannot take such an image.
    """
    shapes: list[tuple[str, tuple[int, ...] | None]] = []

    def after(name: str, _: nn.Module, __: Any, output: Any) -> None:
        is_tensor = isinstance(output, torch.Tensor)
        shapes.append((name, tuple(output.shape) if is_tensor else None))

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        shapes.append((PENULTIMATE, tuple(inputs[0].shape)))

    try:
        with torch.inference_mode(), ExitStack() as hooks:
            for name, part in module.named_modules():
                hook = functools.partial(after, name or OUTPUT)
                hooks.enter_context(part.register_forward_hook(hook))
            if head is not None:
                target = module.get_submodule(head)
                hooks.enter_context(target.register_forward_pre_hook(before))
            module(x)
    except Exception as err:
        raise BackboneError(
            f"{network}: cannot process an image of shape {tuple(x.shape)} in {x.dtype} "
            f"({type(err).__name__}: {one_line(err)}); expected a network that "
            "takes (B, 3, H, W); give a transform that makes the size it needs, or another "
            "precision"
        ) from err
    found: dict[str, LayerOutput] = {}
    for depth, (name, shape) in enumerate(shapes):
        n_calls = found[name].n_calls + 1 if name in found else 1
        if shape is not None:
            found[name] = _describe(name, shape, n_calls, depth)
    if head is None and OUTPUT in found:
        found[PENULTIMATE] = dataclasses.replace(found[OUTPUT], name=PENULTIMATE)
    return found


def _describe(name: str, shape: tuple[int, ...], n_calls: int, depth: int) -> LayerOutput:
    # The trial image is square, so the two equal sides are height and width.
    is_last = len(shape) == 4 and shape[1] == shape[2] != shape[3]
    first = (shape[0], shape[3], shape[1], shape[2]) if is_last else shape
    return LayerOutput(name, first, n_calls, depth, has_channels_last=is_last)


def require_layer(layers: Mapping[str, LayerOutput], name: str, *, network: str) -> LayerOutput:
    """Return a layer by name.

    Raises
    ------
    BackboneError
        If there is none, with the nearest name.
    """
    if name in layers:
        return layers[name]
    joined = JOINED.fullmatch(name)
    if joined is not None:
        return _join_last(layers, int(joined[1]), network=network)
    top = [n for n in layers if "." not in n]
    raise BackboneError(
        f"{network}: got layer {name!r}, expected a module that gives one tensor, by its dotted "
        f"name, for example {', '.join(top[:6])}.{nearest(name, layers)}"
    )


def _join_last(layers: Mapping[str, LayerOutput], n: int, *, network: str) -> LayerOutput:
    """Describe the tokens of the last n blocks, each through the last norm, side by side.

    Raises
    ------
    BackboneError
        If the network has no such blocks and norm, or fewer of them.
    """
    for pattern, norm in BLOCKS:
        named = sorted((found.depth, name) for name, found in layers.items()
                       if re.fullmatch(pattern, name))  # fmt: skip
        blocks = tuple(name for _, name in named)
        shapes = {layers[name].shape for name in (*blocks, norm) if name in layers}
        if not blocks or norm not in layers or len(shapes) > 1 or len(layers[norm].shape) != 3:
            continue
        if n > len(blocks):
            raise BackboneError(
                f"{network}: got layer 'last{n}', but it has {len(blocks)} blocks, expected "
                f"'last1' to 'last{len(blocks)}'"
            )
        last = layers[blocks[-1]]
        shape = (*last.shape[:-1], n * last.shape[-1])
        return LayerOutput(f"last{n}", shape, 1, last.depth, blocks=blocks[-n:], norm=norm)
    raise BackboneError(
        f"{network}: got layer 'last{n}', expected a transformer of timm's or torchvision's, "
        "whose blocks all give tokens of one shape to one last norm; read its layers one by one "
        "(--layer several times)"
    )


class _AllRead(Exception):  # noqa: N818 - not an error: it ends a forward pass early
    """Every layer that was asked for has been read."""


def read_layers(
    module: nn.Module,
    x: torch.Tensor,
    layers: Mapping[str, LayerOutput],
    use: Callable[[str, torch.Tensor], None],
    *,
    head: str | None,
) -> None:
    """Run a batch as far as the deepest layer, handing each layer's output to `use`.

    `use` is called while the pass is at that layer, since the next one may overwrite its input (an
    in-place ReLU does): what it keeps must be a copy.
    """
    left = {name: layer.n_calls for name, layer in layers.items()}

    def take(name: str, value: torch.Tensor) -> None:
        left[name] -= 1
        if left[name] == 0:
            use(name, layers[name].channels_first(value))
        if not any(left.values()):
            raise _AllRead

    handles: list[RemovableHandle] = []
    for name, layer in layers.items():
        if layer.blocks:
            handles += _read_joined(module, layer, take)
            continue
        if name == PENULTIMATE and head is not None:
            target = module.get_submodule(head)
            handles.append(target.register_forward_pre_hook(lambda _, i: take(PENULTIMATE, i[0])))
            continue
        target = module if name in (OUTPUT, PENULTIMATE) else module.get_submodule(name)
        handles.append(target.register_forward_hook(lambda _, __, o, name=name: take(name, o)))
    try:
        module(x)
    except _AllRead:
        return
    finally:
        for handle in handles:
            handle.remove()


def _read_joined(
    module: nn.Module, layer: LayerOutput, take: Callable[[str, torch.Tensor], None]
) -> list[RemovableHandle]:
    """Have tokens of blocks handed over, normed and joined, when the last block has run."""
    norm, found = module.get_submodule(layer.norm), []

    def keep(_: nn.Module, __: Any, output: torch.Tensor) -> None:
        found.append(norm.forward(output))  # without its hooks: another layer may be the norm
        if len(found) == len(layer.blocks):
            take(layer.name, torch.cat(found, dim=-1))

    return [module.get_submodule(name).register_forward_hook(keep) for name in layer.blocks]


class Reads(nn.Module):
    """A pass from a network's input to copies of some layers' outputs: a function to be traced.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    layers, head
        As for `read_layers`.
    """

    def __init__(
        self, module: nn.Module, layers: Mapping[str, LayerOutput], head: str | None
    ) -> None:
        super().__init__()
        self.module = module
        self._layers, self._head = dict(layers), head

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs in the order of the layers."""
        found: dict[str, torch.Tensor] = {}

        def keep(name: str, output: torch.Tensor) -> None:
            found[name] = output.clone()

        read_layers(self.module, x, self._layers, keep, head=self._head)
        return tuple(found[name] for name in self._layers)


class Pooled(nn.Module):
    """One layer's output as a vector for each image: a function to be converted.

    Parameters
    ----------
    read : nn.Module
        Gives the layer's output alone, as `Reads` does.
    pooling : callable
        As `featx.pooling` has them.
    """

    def __init__(self, read: nn.Module, pooling: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.read, self.pooling = read, pooling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the vectors (B, n_features)."""
        return self.pooling(self.read(x)[0])

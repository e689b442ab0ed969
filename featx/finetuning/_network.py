"""A network prepared for fine-tuning: which layers train, and where it is cut in two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from featx.backbones import Network
from featx.errors import BackboneError, nearest
from featx.extraction import LoadedEncoder
from featx.finetuning._split import Trace, UntraceableError, halves_agree, trace

__all__ = ["ALL", "Tunable", "Vectors", "choose_layer", "find_call_order", "prepare"]

ALL = "all"
DEFAULT_SHARE = 1 / 3


class Vectors(nn.Module):
    """The network's own way from normalised images to the vectors that extraction reads.

    Parameters
    ----------
    module : nn.Module
        The whole network.
    head : str or None
        Its classifier, whose input is the feature.
    finish : _Finish
        From the layer's output to vectors.
    """

    def __init__(self, module: nn.Module, head: str | None, finish: nn.Module) -> None:
        super().__init__()
        self.module, self.head, self.finish = module, head, finish

    def layer_output(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the classifier is given, or the output where there is none."""
        if self.head is None:
            output: torch.Tensor = self.module(x)
            return output
        caught: list[torch.Tensor] = []
        target = self.module.get_submodule(self.head)
        handle = target.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
        try:
            self.module(x)
        finally:
            handle.remove()
        return caught[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_features) vectors of (B, 3, H, W) normalised images."""
        vectors: torch.Tensor = self.finish(self.layer_output(x))
        return vectors


class _Finish(nn.Module):
    """The default poolings of `featx.pooling`, which detach their input, so that they train."""

    def __init__(self, loaded: LoadedEncoder) -> None:
        super().__init__()
        self.layer = loaded.backbone.layer(loaded.specs[0].layer)
        self.pooling = loaded.specs[0].pooling.name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer.channels_first(x)
        if self.pooling == "cls":
            return x[:, 0]
        if self.pooling == "avg":
            return x.flatten(2).mean(2) if x.ndim == 4 else x.mean(1)
        return x


@dataclass(frozen=True)
class Tunable:
    """A network of which a part is trained.

    Parameters
    ----------
    name : str
        The network, for messages.
    whole : Vectors
        Normalised images to vectors.
    frozen : nn.Module or None
        Normalised images to the activations before the first trained layer; None where nothing
        comes before it, or where the network cannot be cut.
    tail : nn.Module
        Those activations to vectors; `whole` where `frozen` is None. Both share the modules of
        `whole`.
    train_from : str
        First layer that is trained, or "all".
    trained : dict of str to Parameter
        What is trained, by name in the network.
    modules : tuple of nn.Module
        Modules that train; none that is frozen.
    uncut : str or None
        Why the network could not be cut where it should have been.
    """

    name: str
    whole: Vectors
    frozen: nn.Module | None
    tail: nn.Module
    train_from: str
    trained: dict[str, nn.Parameter]
    modules: tuple[nn.Module, ...]
    uncut: str | None = None

    def train(self, *, is_norm_trained: bool) -> None:
        """Put what trains in training mode, all else in eval mode.

        Parameters
        ----------
        is_norm_trained : bool
            Whether batch norm takes the statistics of the batch and goes on averaging them.
        """
        self.eval()
        for module in self.modules:
            is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            module.training = is_norm_trained or not is_norm

    def eval(self) -> None:
        """Put everything in eval mode."""
        for part in (self.whole, self.tail, self.frozen):
            if part is not None:
                part.eval()


def prepare(
    network: Network, loaded: LoadedEncoder, train_from: str | None, *, device: torch.device
) -> Tunable:
    """Choose what to train and cut the network there.

    Parameters
    ----------
    network : Network
        Moved to the device.
    loaded : LoadedEncoder
        What extraction reads from the same network.
    train_from : str or None
        A layer's name, "all", or None for `choose_layer`.
    device : torch.device

    Raises
    ------
    BackboneError
        If there is no such layer, or more than one value passes from before it to after it; with
        the nearest layer that can be named.
    """
    module = network.module.eval().requires_grad_(False).to(device)
    module = module.to(memory_format=torch.channels_last)
    head = network.head
    whole = Vectors(module, head, _Finish(loaded)).eval()
    side = loaded.recipes[0].preprocessing.crop_px
    assert side is not None
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    order = find_call_order(whole, x)
    if train_from == ALL:
        return _make_tunable(network.name, whole, order, ALL)
    thing = f"backbone {network.name!r}"
    try:
        traced = trace(module, head)
    except UntraceableError as err:
        layer = _check_layer(train_from, order, order, thing) or choose_layer(module, order, order)
        return _make_tunable(network.name, whole, order, layer, uncut=str(err))
    cuts = [name for name in traced.find_cuts() if name in order]
    layer = _check_layer(train_from, cuts, order, thing, traced) or choose_layer(
        module, order, cuts
    )
    frozen, tail = traced.split(layer)
    tail = nn.Sequential(tail, whole.finish)
    if not halves_agree(frozen, tail, whole, x):
        return _make_tunable(
            network.name, whole, order, layer, uncut="cut in two it gives other values"
        )
    return _make_tunable(
        network.name, whole, order, layer, halves=(frozen, tail) if frozen is not None else None
    )


def find_call_order(whole: Vectors, x: torch.Tensor) -> dict[str, int]:
    """Return the modules that the feature depends on, in the order in which they are first called.

    Returns
    -------
    dict of str to int
        Name of each module to its place; the network itself, "", is the first.
    """
    found: dict[str, int] = {}
    done: list[bool] = []

    def note(name: str) -> None:
        if name == whole.head:
            done.append(True)
        if not done:
            found.setdefault(name, len(found))

    handles = [
        m.register_forward_pre_hook(lambda *_, name=n: note(name))
        for n, m in whole.module.named_modules()
    ]
    try:
        with torch.no_grad():
            whole(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def choose_layer(module: nn.Module, order: dict[str, int], cuts: Any) -> str:
    """Return the earliest layer from which on lies at most a third of the weight layers.

    Parameters
    ----------
    module : nn.Module
    order : dict of str to int
        From `find_call_order`.
    cuts : iterable of str
        Layers to choose from.

    Returns
    -------
    str
        Weight layers are modules with a matrix or kernel of their own. Of names for one place the
        outermost; never the middle of a block that itself has at most a third. The last layer to
        choose from, where it has more.
    """
    weights = [n for n in order if _has_weights(module.get_submodule(n))]
    most = DEFAULT_SHARE * len(weights)
    names = sorted((c for c in cuts if c), key=order.__getitem__)
    n_after = {n: sum(order[w] >= order[n] for w in weights) for n in names}
    n_inside = {n: sum(f"{w}.".startswith(f"{n}.") for w in weights) for n in names}

    def splits_a_block(name: str) -> bool:
        parts = name.split(".")
        holders = (".".join(parts[:i]) for i in range(1, len(parts)))
        return any(
            h in n_inside and order[h] < order[name] and n_inside[h] <= most for h in holders
        )

    fits = [n for n in names if n_inside[n] and not splits_a_block(n)]
    small = [n for n in fits if n_after[n] <= most]
    return small[0] if small else fits[-1] if fits else ALL


def _has_weights(module: nn.Module) -> bool:
    return any(p.ndim > 1 for p in module.parameters(recurse=False))


def _check_layer(
    name: str | None, usable: Any, order: Any, thing: str, traced: Trace | None = None
) -> str | None:
    if name is None or (name in usable and name):
        return name
    layers = [n for n in usable if n]
    if name in order and traced is not None:
        n_values = len(traced.find_crossing(name)) if name in traced.starts else 0
        raise BackboneError(
            f"train_from: got {name!r}, but {n_values} values computed before it are used from it "
            f"on in {thing}, expected a layer with one, so that what comes before is computed "
            f"once; take {_find_earlier(name, layers, traced.starts)!r}, which begins earlier, "
            "or 'all'"
        )
    top = [n for n in layers if n.count(".") == 0] or layers
    raise BackboneError(
        f"train_from: got {name!r}, expected a layer of {thing} before its classifier, for "
        f"example {', '.join(top[-3:])}, or 'all'.{nearest(str(name), [*layers, ALL])}"
    )


def _find_earlier(name: str, layers: list[str], starts: dict[str, int]) -> str:
    """Return the layer that begins last before another one, of several the outermost."""
    earlier = [n for n in layers if starts[n] <= starts.get(name, 0)]
    return max(earlier, key=lambda n: (starts[n], -n.count("."))) if earlier else ALL


def _make_tunable(
    name: str,
    whole: Vectors,
    order: dict[str, int],
    layer: str,
    *,
    halves: tuple[nn.Module, nn.Module] | None = None,
    uncut: str | None = None,
) -> Tunable:
    start = 0 if layer == ALL else order[layer]
    inside = [
        (path, module)
        for path, module in whole.module.named_modules()
        if not _is_head(path, whole.head) and _find_place(path, order) >= start
    ]
    trained = {
        f"{path}.{key}" if path else key: value
        for path, module in inside
        for key, value in module.named_parameters(recurse=False)
        if value.is_floating_point()
    }
    for value in trained.values():
        value.requires_grad_(True)
    frozen, tail = halves if halves is not None else (None, whole)
    modules = tuple(module for _, module in inside)
    return Tunable(name, whole, frozen, tail, layer, trained, modules, uncut)


def _is_head(name: str, head: str | None) -> bool:
    return head is not None and (name == head or name.startswith(f"{head}."))


def _find_place(name: str, order: dict[str, int]) -> int:
    """Return when a module is called; one that never is, when what holds it is."""
    while name not in order:
        name = name.rpartition(".")[0]
    return order[name]

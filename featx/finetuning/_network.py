"""A network prepared for fine-tuning: which layers train, and where it is cut in two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from featx.backbones import Network
from featx.errors import BackboneError, nearest
from featx.extraction import LoadedEncoder
from featx.finetuning._depths import list_depths, rank_layers
from featx.finetuning._split import (
    Trace,
    UntraceableError,
    find_holders,
    halves_agree,
    trace,
)

__all__ = ["ALL", "AUTO", "Cutter", "Tunable", "Vectors", "find_call_order"]

ALL, AUTO = "all", "auto"


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
        px = loaded.recipes[0].preprocessing.crop_px
        self.layer = loaded.backbone.layer(loaded.specs[0].layer, px=px)
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


class Cutter:
    """A network and the places where it can be cut.

    Parameters
    ----------
    network : Network
        Moved to the device.
    loaded : LoadedEncoder
        What extraction reads from the same network.
    device : torch.device
    """

    def __init__(self, network: Network, loaded: LoadedEncoder, *, device: torch.device) -> None:
        module = network.module.eval().requires_grad_(False).to(device)
        self.module = module.to(memory_format=torch.channels_last)
        self.name, self.thing = network.name, f"backbone {network.name!r}"
        self.whole = Vectors(self.module, network.head, _Finish(loaded)).eval()
        side = loaded.recipes[0].preprocessing.crop_px
        assert side is not None
        generator = torch.Generator().manual_seed(0)
        self._x = torch.rand(2, 3, side, side, generator=generator).to(device)
        self.order = find_call_order(self.whole, self._x)
        self._traces: dict[frozenset[str], Trace | UntraceableError] = {}

    def choose(self, train_from: str | None) -> list[str]:
        """Return the layers to train from, each by itself; the earliest first.

        Parameters
        ----------
        train_from : str or None
            A layer's name, "all", "auto" for several depths, None for the last third.

        Raises
        ------
        BackboneError
            If there is no such layer, or more than one value passes from before it to after it;
            with the nearest layer that can be named.
        """
        if train_from == AUTO:
            found = list_depths(self.module, self.order, self._can_cut)[::-1]
        elif train_from is None:
            ranked = rank_layers(self.module, self.order, self.order)
            found = [next((n for n in ranked if self._can_cut(n)), "")]
        else:
            self._check(train_from)
            return [train_from]
        if not any(found):
            raise BackboneError(
                f"train_from: got {train_from!r}, but {self.thing} has no layer that leaves "
                "others frozen before it, expected 'all', which trains all of it, or a network of "
                "several layers"
            )
        return found

    def prepare(self, layer: str) -> Tunable:
        """Free what is trained from a layer on, freeze the rest, and cut the network there."""
        start = 0 if layer == ALL else self.order[layer]
        inside = [
            (path, module)
            for path, module in self.module.named_modules()
            if not _is_head(path, self.whole.head) and _find_place(path, self.order) >= start
        ]
        trained = {
            f"{path}.{key}" if path else key: value
            for path, module in inside
            for key, value in module.named_parameters(recurse=False)
            if value.is_floating_point()
        }
        self.module.requires_grad_(False)
        for value in trained.values():
            value.requires_grad_(True)
        frozen, tail, uncut = self._cut(layer)
        modules = tuple(module for _, module in inside)
        return Tunable(self.name, self.whole, frozen, tail, layer, trained, modules, uncut)

    def between(self, start: str, end: str) -> nn.Module:
        """Return the way from a layer's input to that of a later one, both cut by `prepare`."""
        traced = self._trace(start, end)
        assert isinstance(traced, Trace)
        return traced.extract(start, end)

    def _cut(self, layer: str) -> tuple[nn.Module | None, nn.Module, str | None]:
        """Return what comes before a layer, the rest, and why the network cannot be cut."""
        if layer == ALL:
            return None, self.whole, None
        traced = self._trace(layer)
        if isinstance(traced, UntraceableError):
            return None, self.whole, str(traced)
        frozen = None if traced.is_first(layer) else traced.extract(None, layer)
        tail = nn.Sequential(traced.extract(layer, None), self.whole.finish)
        if not halves_agree(frozen, tail, self.whole, self._x):
            return None, self.whole, "cut in two it gives other values"
        return frozen, tail, None

    def _trace(self, *layers: str) -> Trace | UntraceableError:
        """Write the network down as far as some layers need; once for those of one holder."""
        key = find_holders(*layers)
        if key not in self._traces:
            try:
                self._traces[key] = trace(self.module, self.whole.head, layers, self._x)
            except UntraceableError as err:
                self._traces[key] = err
        return self._traces[key]

    def _can_cut(self, layer: str) -> bool:
        """Tell whether a layer is a place to cut; of a network that cannot be cut, any is."""
        traced = self._trace(layer)
        if isinstance(traced, UntraceableError):
            return True
        return layer in traced.starts and len(traced.find_crossing(layer)) == 1

    def _check(self, name: str) -> None:
        layers = [n for n in self.order if n]
        if name == ALL or (name in layers and self._can_cut(name)):
            return
        if name not in layers:
            top = [n for n in layers if n.count(".") == 0] or layers
            raise BackboneError(
                f"train_from: got {name!r}, expected a layer of {self.thing} before its "
                f"classifier, for example {', '.join(top[-3:])}, 'auto' or 'all'."
                f"{nearest(name, [*layers, AUTO, ALL])}"
            )
        traced = self._trace(name)
        assert isinstance(traced, Trace)
        n_values = len(traced.find_crossing(name)) if name in traced.starts else 0
        earlier = [n for n in layers if self.order[n] <= self.order[name] and n in traced.starts]
        earlier = [n for n in earlier if len(traced.find_crossing(n)) == 1]
        best = max(earlier, key=lambda n: (traced.starts[n], -n.count(".")), default=ALL)
        raise BackboneError(
            f"train_from: got {name!r}, but {n_values} values computed before it are used from it "
            f"on in {self.thing}, expected a layer with one, so that what comes before is "
            f"computed once; take {best!r}, which begins earlier, or 'all'"
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


def _is_head(name: str, head: str | None) -> bool:
    return head is not None and (name == head or name.startswith(f"{head}."))


def _find_place(name: str, order: dict[str, int]) -> int:
    """Return when a module is called; one that never is, when what holds it is."""
    while name not in order:
        name = name.rpartition(".")[0]
    return order[name]

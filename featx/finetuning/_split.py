"""Cut a network in two at a layer, so that what lies before it can be computed once.

torch.fx writes a forward pass down as a list of operations. Only the modules that hold the layer
or the classifier are looked into; every other one is a single operation, whatever it does inside,
so that the blocks of a transformer need not be written down. A layer is a place to cut where only
one value that depends on the image passes from before it to after it: the two halves are then
functions of one tensor each, and share the network's own modules and parameters. Values that are
the same for all images of a size, such as rotary position embeddings, go along as constants.
Branches on such values are decided. Networks whose forward pass depends on what an image shows
cannot be written down; the caller is told why.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

__all__ = ["Trace", "UntraceableError", "find_holders", "halves_agree", "trace"]

SIZE_METHODS = ("size", "dim", "numel")
SIZE_ATTRIBUTES = ("shape", "ndim", "dtype", "device")


class UntraceableError(Exception):
    """Why torch.fx cannot write a network down; never reaches a user by itself."""


@dataclass(frozen=True)
class Trace:
    """A forward pass as a list of operations, as far as the feature.

    Parameters
    ----------
    module : nn.Module
        The network.
    nodes : tuple of fx.Node
        What the feature depends on, in order of execution.
    image : fx.Node
        The network's input.
    feature : fx.Node
        Input of the classifier, or the network's output.
    starts : dict of str to int
        For each layer how many operations are done when it is first called, among `order`.
    order : dict of fx.Node to int
        Position of each node among all operations.
    fixed : mapping of fx.Node to Any
        Values that are the same for every image.
    """

    module: nn.Module
    nodes: tuple[fx.Node, ...]
    image: fx.Node
    feature: fx.Node
    starts: dict[str, int]
    order: dict[fx.Node, int]
    fixed: Mapping[fx.Node, Any]

    def find_crossing(self, layer: str) -> list[fx.Node]:
        """Return the values of an image from before a layer that are used in it or after it."""
        start = self.starts[layer]
        before = [n for n in self.nodes if self.order[n] < start]
        late = set(self.nodes[len(before) :])
        return [
            n
            for n in before
            if n.op != "get_attr" and n not in self.fixed and not late.isdisjoint(n.users)
        ]

    def find_cuts(self) -> list[str]:
        """Return the layers where the network can be cut, in order of execution."""
        return [name for name in self.starts if len(self.find_crossing(name)) == 1]

    def is_first(self, layer: str) -> bool:
        """Tell whether a layer, one of `find_cuts`, is given the image itself."""
        return self.find_crossing(layer) == [self.image]

    def extract(self, start: str | None, end: str | None) -> nn.Module:
        """Return a part of the network as a function of one tensor.

        Parameters
        ----------
        start : str or None
            One of `find_cuts`, whose input the part is given; None: the image.
        end : str or None
            A later one, whose input the part gives; None: the feature.
        """
        source = self.image if start is None else self.find_crossing(start)[0]
        result = self.feature if end is None else self.find_crossing(end)[0]
        first = 0 if start is None else self.starts[start]
        graph = fx.Graph()
        copied: dict[fx.Node, Any] = {source: graph.placeholder("x")}
        owned: dict[str, Any] = {}
        for node in self._find_needed(result, source, first):
            if self.order[node] < first and node in self.fixed:
                value = self.fixed[node]
                if isinstance(value, torch.Tensor):
                    name = f"fixed_{self.order[node]}"
                    owned[name], value = value, graph.get_attr(name)
                copied[node] = value
                continue
            copied[node] = graph.node_copy(node, lambda n: copied[n])
            if node.op in ("get_attr", "call_module"):
                owned[str(node.target)] = _get(self.module, str(node.target))
        graph.output(copied[result])
        part: nn.Module = fx.GraphModule(owned, graph)
        return part

    def _find_needed(self, result: fx.Node, source: fx.Node, first: int) -> list[fx.Node]:
        found, left = {source}, [result]
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                if not (self.order[one] < first and one in self.fixed):
                    left.extend(one.all_input_nodes)
        return [n for n in self.nodes if n in found and n is not source]


def _get(module: nn.Module, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name)
    return found


def find_holders(*names: str | None) -> frozenset[str]:
    """Return the modules that hold one of some modules, by name; the network itself is "".

    Examples
    --------
    >>> sorted(find_holders("stages.3.blocks", None))
    ['', 'stages', 'stages.3']
    """
    parts = [name.split(".") for name in names if name is not None]
    return frozenset(".".join(p[:i]) for p in parts for i in range(len(p))) | {""}


class _Recorder(fx.Tracer):
    """Note how far the list is when a module is first called, and what the head is given."""

    def __init__(self, head: str | None, holders: frozenset[str], x: torch.Tensor) -> None:
        super().__init__()
        self.head, self.holders, self.x = head, holders, x
        self.is_running = False
        self.starts: dict[str, int] = {}
        self.head_input: Any = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Look only into what holds a place to cut or the classifier."""
        return module_qualified_name not in self.holders

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.is_running:
            return forward(*args, **kwargs)
        name = self.path_of_module(m)
        self.starts.setdefault(name, len(self.graph.nodes))
        if name == self.head:
            self.head_input = args[0]
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return an attribute as a value to be written down, while nothing is run."""
        if self.is_running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide a branch on the images' size or type, which all images share."""
        if any(n.op == "placeholder" for n in _find_ancestors(obj.node, past_sizes=False)):
            return super().to_bool(obj)
        needed = _find_ancestors(obj.node)
        nodes = tuple(n for n in self.graph.nodes if n in needed)
        images = [n for n in nodes if n.op == "placeholder"]
        if len(images) == 1:
            self.is_running = True
            try:
                fixed = _find_fixed(self.root, nodes, images[0], self.x)
            finally:
                self.is_running = False
            if obj.node in fixed:
                return bool(fixed[obj.node])
        return super().to_bool(obj)


def trace(module: nn.Module, head: str | None, layers: Iterable[str], x: torch.Tensor) -> Trace:
    """Write a network's forward pass down, so that it can be cut at some layers and beside them.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    head : str or None
        Its classifier, whose input is the feature; None where the output is.
    layers : iterable of str
        What holds them is looked into.
    x : Tensor of shape (B, 3, H, W)
        Images that differ, B at least 2, to find which values are the same for all.

    Raises
    ------
    UntraceableError
        If that cannot be done.
    """
    recorder = _Recorder(head, find_holders(*layers, head), x)
    # Optional inputs, such as a mask, hold their defaults.
    inputs = inspect.signature(module.forward).parameters.values()
    defaults = {p.name: p.default for p in inputs if p.default is not p.empty}
    try:
        graph = recorder.trace(module, concrete_args=defaults or None)
    except Exception as err:
        # Whatever a forward pass does with a value that is not there yet raises something else.
        reason = " ".join(str(err).split())[:160]
        raise UntraceableError(f"{type(err).__name__}: {reason}") from err
    nodes = list(graph.nodes)
    found = nodes[-1].args[0] if head is None else getattr(recorder.head_input, "node", None)
    if not isinstance(found, fx.Node):
        raise UntraceableError("its feature is not one tensor")
    needed = _find_ancestors(found)
    images = [n for n in nodes if n.op == "placeholder" and n in needed]
    if len(images) != 1:
        raise UntraceableError(f"its forward pass takes {len(images)} inputs, expected one")
    kept = tuple(n for n in nodes if n in needed)
    fixed = _find_fixed(module, kept, images[0], x)
    places = {n: i for i, n in enumerate(nodes)}
    return Trace(module, kept, images[0], found, recorder.starts, places, fixed)


@torch.no_grad()
def _find_fixed(
    module: nn.Module, nodes: tuple[fx.Node, ...], image: fx.Node, x: torch.Tensor
) -> dict[fx.Node, Any]:
    """Return the values that are the same for one image and for several others."""

    def run(images: torch.Tensor) -> dict[fx.Node, Any]:
        values: dict[fx.Node, Any] = {image: images}
        runner = fx.Interpreter(module, graph=image.graph)
        for node in nodes:
            if node is not image:
                runner.env = values
                values[node] = runner.run_node(node)
        return values

    first, other = run(x[:1]), run(x[1:].flip(0).repeat(2, 1, 1, 1))
    return {n: v for n, v in first.items() if n.op != "get_attr" and _is_same(v, other[n])}


def _is_same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_is_same, a, b))
    return isinstance(a, (int, float, str, bool, type(None), torch.dtype, torch.device)) and a == b


def _find_ancestors(node: fx.Node, *, past_sizes: bool = True) -> set[fx.Node]:
    """Return what a value is computed from; on demand not what only gives its size or type."""
    found: set[fx.Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            if past_sizes or not _is_size(one):
                left.extend(one.all_input_nodes)
    return found


def _is_size(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in SIZE_METHODS
    return node.target is getattr and node.args[1] in SIZE_ATTRIBUTES


def halves_agree(
    frozen: nn.Module | None, tail: nn.Module, whole: nn.Module, x: torch.Tensor
) -> bool:
    """Return whether both halves in turn give what the whole network gives, up to rounding.

    An operation that changes a tensor in place and whose result nobody uses is lost by the list
    of operations; no network that is known does so, and this is how one would be found.
    """
    with torch.no_grad():
        expected = whole(x)
        found = tail(x if frozen is None else frozen(x.clone()))
    tolerance = 1e-4 * float(expected.abs().max()) + 1e-12
    same: bool = found.shape == expected.shape and bool(
        ((found - expected).abs() <= tolerance).all()
    )
    return same

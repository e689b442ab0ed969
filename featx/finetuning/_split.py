"""Cut a network in two at a layer, so that what lies before it can be computed once.

torch.fx writes a forward pass down as a list of operations. A layer is a place to cut where only
one value computed before it is used after it: the two halves are then functions of one tensor
each, and share the network's own modules and parameters. Networks whose forward pass depends on
values cannot be written down; the caller is told why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

__all__ = ["Trace", "UntraceableError", "halves_agree", "trace"]


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
    feature : fx.Node
        Input of the classifier, or the network's output.
    starts : dict of str to int
        For each layer how many operations are done when it is first called, among `order`.
    order : dict of fx.Node to int
        Position of each node among all operations.
    """

    module: nn.Module
    nodes: tuple[fx.Node, ...]
    feature: fx.Node
    starts: dict[str, int]
    order: dict[fx.Node, int]

    def find_crossing(self, layer: str) -> list[fx.Node]:
        """Return the values computed before a layer that are used in it or after it."""
        before, after = self._divide(layer)
        late = set(after)
        return [n for n in before if n.op != "get_attr" and not late.isdisjoint(n.users)]

    def find_cuts(self) -> list[str]:
        """Return the layers where the network can be cut, in order of execution."""
        return [name for name in self.starts if len(self.find_crossing(name)) == 1]

    def split(self, layer: str) -> tuple[nn.Module | None, nn.Module]:
        """Return what comes before a layer (None where that is nothing), and the rest.

        Parameters
        ----------
        layer : str
            One of `find_cuts`.
        """
        (value,) = self.find_crossing(layer)
        before, after = self._divide(layer)
        # A parameter that both sides read is a node of the first one only.
        shared = [n for n in before if n.op == "get_attr" and not set(after).isdisjoint(n.users)]
        tail = _extract_part(self.module, [*shared, *after], value, self.feature)
        if value.op == "placeholder":
            return None, tail
        (image,) = (n for n in before if n.op == "placeholder")
        return _extract_part(self.module, before, image, value), tail

    def _divide(self, layer: str) -> tuple[list[fx.Node], list[fx.Node]]:
        start = self.starts[layer]
        before = [n for n in self.nodes if self.order[n] < start]
        return before, self.nodes[len(before) :]  # type: ignore[return-value]


class _Recorder(fx.Tracer):
    """Note how far the list is when a module is first called, and what the head is given."""

    def __init__(self, head: str | None) -> None:
        super().__init__()
        self.head = head
        self.starts: dict[str, int] = {}
        self.head_input: Any = None

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        name = self.path_of_module(m)
        self.starts.setdefault(name, len(self.graph.nodes))
        if name == self.head:
            self.head_input = args[0]
        return super().call_module(m, forward, args, kwargs)


def trace(module: nn.Module, head: str | None) -> Trace:
    """Write a network's forward pass down.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    head : str or None
        Its classifier, whose input is the feature; None where the output is.

    Raises
    ------
    UntraceableError
        If that cannot be done.
    """
    recorder = _Recorder(head)
    try:
        graph = recorder.trace(module)
    except Exception as err:
        # Whatever a forward pass does with a value that is not there yet raises something else.
        reason = " ".join(str(err).split())[:160]
        raise UntraceableError(f"{type(err).__name__}: {reason}") from err
    nodes = list(graph.nodes)
    n_inputs = sum(node.op == "placeholder" for node in nodes)
    if n_inputs != 1:
        raise UntraceableError(f"its forward pass takes {n_inputs} inputs, expected one")
    found = nodes[-1].args[0] if head is None else getattr(recorder.head_input, "node", None)
    if not isinstance(found, fx.Node):
        raise UntraceableError("its feature is not one tensor")
    needed = _find_ancestors(found)
    return Trace(
        module,
        tuple(n for n in nodes if n in needed),
        found,
        recorder.starts,
        {n: i for i, n in enumerate(nodes)},
    )


def _find_ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left.extend(one.all_input_nodes)
    return found


def _extract_part(module: nn.Module, nodes: Any, source: fx.Node, result: fx.Node) -> nn.Module:
    graph = fx.Graph()
    copied = {source: graph.placeholder("x")}
    for node in nodes:
        if node is not source:
            copied[node] = graph.node_copy(node, lambda n: copied[n])
    graph.output(copied[result])
    part: nn.Module = fx.GraphModule(module, graph)
    return part


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

"""`Backbone`: a loaded network that turns views of images into feature vectors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx._arrays import join_views
from featx.backbones._traces import Traces
from featx.backbones.names import is_own
from featx.backbones.weights import state_digest
from featx.engines.choice import Engines
from featx.engines.chosen import EngineChoice
from featx.engines.engine import Engine, Network, Normalise, Samples
from featx.engines.layers import (
    OUTPUT,
    PENULTIMATE,
    LayerOutput,
    Pooled,
    Reads,
    require_layer,
)
from featx.engines.passes import Passes, Pending, Read
from featx.engines.placement import Placement
from featx.errors import BackboneError, ParameterError

__all__ = ["Backbone"]

Tag = TypeVar("Tag")


class Backbone:
    """A network with its weights on its device, in eval mode. Made by `load_backbone`.

    Parameters
    ----------
    network : Network
        Its module is taken over: moved, converted and put in eval mode.
    placement : Placement
        Where it runs, in which arithmetic, and by which engine. Batch-norm statistics stay
        float32, and pooled sums are float32. Another engine than torch keeps the float32 weights
        in memory, beside those in the placement's precision.

    Attributes
    ----------
    name : str
        As `list_backbones` has it, or ``module:Class``.
    weights : str
        SHA-256 of its parameters and buffers as loaded, 64 hexadecimal digits.
    weights_source : str
        Where they come from, for people.
    license : str or None
        Their terms, where these are stated.
    preprocessing : Preprocessing
        What its images must be made into; `preprocessing_reason` says why.
    transform : callable or None
        A user's own way from a PIL image to the network's input.
    device, precision, engine : str
        Where it runs, what it computes in as recipes have it, and what it was loaded for; engine
        "auto" is decided by `choose_engine`.
    n_images : int
        Images that have gone through the network since it was loaded, views counted once.

    Examples
    --------
    >>> from featx import load_backbone
    >>> net = load_backbone("resnet18", weights=None, precision="float32")
    >>> net.layer("layer3").shape
    (1, 256, 14, 14)
    >>> from featx.pooling import get_pooling
    >>> images = np.zeros((2, 224, 224, 3), np.uint8)
    >>> reads = [("layer3", get_pooling("max")), ("penultimate", get_pooling("none"))]
    >>> [vectors.shape for vectors in net.features([images], reads)]
    [(2, 256), (2, 512)]
    """

    @torch.inference_mode(False)  # as for `build_network`
    def __init__(self, network: Network, placement: Placement) -> None:
        self.name, self.weights_source = network.name, network.weights_source
        self.license = network.license
        self.weights = network.digest or state_digest(network.module)
        self.preprocessing, self.transform = network.preprocessing, network.transform
        self.preprocessing_reason = network.preprocessing_reason
        self.device, self.engine = str(placement.device), placement.engine
        self.precision, self._is_int8 = str(placement.precision), placement.precision.is_int8
        self.n_images = 0
        self._counting = threading.Lock()
        self._passes = Passes(str(network), self.device)
        self._engines = Engines(network, placement, self.weights)
        self._torch = self._engines.torch
        self._traces = Traces(self._torch.trace, network)

    def __repr__(self) -> str:
        return (
            f"Backbone({self.name!r}, weights={self.weights_source!r}, device={self.device!r}, "
            f"precision={self.precision!r}, engine={self.engine!r})"
        )

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Layers that can be read, in order of execution, with the shape for one image.

        (1, C, H, W) is a map, (1, N, D) are tokens, (1, D) is a vector. Costs a pass of one image
        at the first call.
        """
        found = sorted(self._traces.at().values(), key=lambda layer: layer.depth)
        return {layer.name: layer.shape for layer in found}

    @property
    def trial_px(self) -> int:
        """Side of the blank image that the shapes of `layers` are for, without a transform."""
        return self._traces.usual_px

    @property
    def default_layer(self) -> str:
        """Layer that is read by default: "penultimate"; of a network of your own "output"."""
        return OUTPUT if is_own(self.name) else PENULTIMATE

    @property
    def has_class_token(self) -> bool:
        """Whether the first of its tokens is trained as the image's summary."""
        names = ("class_token", "cls_token")  # torchvision's and timm's
        return any(getattr(self._torch.module, name, None) is not None for name in names)

    @property
    def n_prefix_tokens(self) -> int:
        """Tokens that its transformer puts before those of the patches: class token, registers."""
        module = self._torch.module
        return int(getattr(module, "num_prefix_tokens", self.has_class_token))  # timm counts them

    @property
    def patch_px(self) -> int:
        """Side in pixels of the patches of a transformer of timm's; 1 for any other network."""
        stem = getattr(self._torch.module, "patch_embed", None)
        size = getattr(stem, "patch_size", 1)
        size = size[0] if isinstance(size, tuple | list) and size else size
        return size if isinstance(size, int) and size > 0 else 1  # a module of one's own has any

    def layer(self, name: str, *, px: int | None = None) -> LayerOutput:
        """Describe one layer.

        Parameters
        ----------
        name : str
            As in `layers`.
        px : int, optional
            Side of the images, where it is not `trial_px`; costs a pass of one at the first call.

        Raises
        ------
        BackboneError
            If there is no such layer, with the nearest name; or the network does not take images
            of that size, with the nearest ones that it takes.
        """
        return require_layer(self._traces.at(px), name, network=f"backbone {self.name!r}")

    def _find_layer(self, name: str) -> LayerOutput:
        """Describe a layer for images of any size: its shape may be that for another."""
        return require_layer(self._traces.of_any_size(), name, network=f"backbone {self.name!r}")

    def features(
        self,
        views: Sequence[NDArray[Any]],
        reads: Sequence[Read],
        *,
        keep_views: bool = False,
        pad_to: int | None = None,
        engine: str | None = None,
    ) -> list[NDArray[np.float32]]:
        """Run the network once over each view, as far as the deepest layer that is read.

        Parameters
        ----------
        views : sequence of ndarray
            One array per view: (n, H, W, 3) uint8 RGB, normalised here; or (n, C, H, W) float32
            from a transform, taken as it is.
        reads : sequence of (str, callable)
            Layers and their poolings; a layer may come several times.
        keep_views : bool, default False
            Concatenate the views' vectors instead of averaging them.
        pad_to : int, optional
            Fill the batch up with blank images to this many, so that an image's vector is the same
            to the last bit however many others come with it. Without it vectors agree to about
            1e-6 of their length in float32.
        engine : {"torch", "compile", "openvino"}, optional
            Default: the one that the network was loaded with, torch if that was auto. See
            `choose_engine`.

        Returns
        -------
        list of ndarray of shape (n, n_features), float32
            One for each read; n_features times the number of views where they are kept.
        """
        batches = self.stream(
            [(None, views)], reads, keep_views=keep_views, pad_to=pad_to, engine=engine
        )
        return next(batches)[1]

    def stream(
        self,
        batches: Iterable[tuple[Tag, Sequence[NDArray[Any]]]],
        reads: Sequence[Read],
        *,
        keep_views: bool = False,
        pad_to: int | None = None,
        engine: str | None = None,
    ) -> Iterator[tuple[Tag, list[NDArray[np.float32]]]]:
        """Do what `features` does for one batch after the other.

        On a GPU and with OpenVINO the next batch is taken and begun while one is computed.

        Parameters
        ----------
        batches : iterable of (object, sequence of ndarray)
            Anything that tells batches apart, and the views as for `features`; none where there is
            nothing to do.
        reads, keep_views, pad_to, engine
            As for `features`.

        Yields
        ------
        tag : object
            As it came, in the order of the batches.
        features : list of ndarray
            What `features` returns; empty where there were no views.

        Examples
        --------
        >>> from featx import load_backbone
        >>> from featx.pooling import get_pooling
        >>> net = load_backbone("resnet18", weights=None, precision="float32")
        >>> batches = [("a", [np.zeros((2, 64, 64, 3), np.uint8)]), ("b", [])]
        >>> reads = [("layer4", get_pooling("avg"))]
        >>> [(tag, [v.shape for v in found]) for tag, found in net.stream(batches, reads)]
        [('a', [(2, 512)]), ('b', [])]
        """
        runner = self._engines.get(engine)
        begun: deque[tuple[Tag, Pending]] = deque()
        for tag, views in batches:
            pending = self._begin(views, reads, runner, keep_views, pad_to) if views else list
            begun.append((tag, pending))
            if len(begun) == runner.n_at_once:
                first, fetch = begun.popleft()
                yield first, fetch()
        for last, fetch in begun:
            yield last, fetch()

    def empty(
        self, shape: tuple[int, ...], dtype: Any, *, engine: str | None = None
    ) -> NDArray[Any]:
        """Return an array to collect a view of a batch in, where the engine reads it best.

        Pinned memory, where there is a GPU.

        Parameters
        ----------
        shape, dtype
            Of the view, for `features`.
        engine
            As for `features`.

        Examples
        --------
        >>> from featx import load_backbone
        >>> net = load_backbone("resnet18", weights=None)
        >>> net.empty((2, 224, 224, 3), np.uint8).shape
        (2, 224, 224, 3)
        """
        return self._engines.get(engine).empty(shape, dtype)

    def maps(self, images: NDArray[Any], layer: str) -> NDArray[np.float32]:
        """Run the network as far as a layer and return its map, not pooled.

        Parameters
        ----------
        images : ndarray of shape (n, H, W, 3), uint8; or (n, C, H, W), float32
            As one of the views of `features`.
        layer : str
            One that gives a map; see `layers`.

        Returns
        -------
        ndarray of shape (n, channels, height, width), float32

        Raises
        ------
        BackboneError
            If there is no such layer, or it gives no map.

        Examples
        --------
        >>> from featx import load_backbone
        >>> net = load_backbone("resnet18", weights=None, precision="float32")
        >>> net.maps(np.zeros((2, 64, 96, 3), np.uint8), "layer3").shape
        (2, 256, 4, 6)
        """
        shape = self._find_layer(layer).shape
        if len(shape) != 4:
            raise BackboneError(
                f"backbone {self.name!r}: layer {layer!r} gives an output of shape {shape}, "
                "expected a map (1, C, H, W); read another layer"
            )
        # Int8 is calibrated for what `choose_engine` was told of; this may be any size.
        engine = "torch" if self._is_int8 else None
        return self.features([images], [(layer, _copy)], engine=engine)[0]

    def as_module(self, layer: str, pooling: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
        """Return the way from a view to a vector as one module, to be converted.

        Parameters
        ----------
        layer, pooling
            One of the reads of `features`.

        Returns
        -------
        nn.Module
            From views (n, H, W, 3), uint8, to vectors (n, n_features); shares the weights.

        Examples
        --------
        >>> from featx import load_backbone
        >>> from featx.pooling import get_pooling
        >>> net = load_backbone("resnet18", weights=None, precision="float32")
        >>> module = net.as_module("layer4", get_pooling("avg"))
        >>> module(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape
        torch.Size([1, 512])
        """
        reads = Reads(
            self._torch.module, {layer: self._find_layer(layer)}, self._torch.network.head
        )
        return Pooled(nn.Sequential(Normalise(self.preprocessing), reads), pooling)

    def choose_engine(
        self,
        layers: Sequence[str],
        shapes: Sequence[tuple[int, ...]] | None,
        *,
        n_images: int,
        samples: Samples | None = None,
    ) -> EngineChoice:
        """Say what is to run the network over many images, and why; converts it where need be.

        Parameters
        ----------
        layers : sequence of str
            What will be read.
        shapes : sequence of tuple of int, or None
            (H, W, 3) of each view of an image; None where that is not known beforehand.
        n_images : int
            How many are to come. Auto is torch for a few, which do not pay for the conversion.
        samples : callable, optional
            Given the shape of a view, returns sample images of it, ``(n, *shape)``; called where
            the precision is int8 and has not been calibrated for that shape.

        Returns
        -------
        EngineChoice
            For `features`. Where "auto" cannot have OpenVINO, its reason is also logged.

        Raises
        ------
        BackboneError
            If "openvino" was asked for, and cannot run the network or gives other features than
            torch.
        ParameterError
            If the precision is int8 and the images keep their own sizes.

        Examples
        --------
        >>> from featx import load_backbone
        >>> net = load_backbone("resnet18", weights=None, engine="torch")
        >>> net.choose_engine(["penultimate"], [(224, 224, 3)], n_images=1000)
        EngineChoice(name='torch', reason='as asked for')
        """
        dtype: Any = np.uint8
        if shapes is None and self._is_int8:
            if self.transform is None:
                raise ParameterError(
                    "precision: got 'int8' for images that keep their own sizes, expected ones of "
                    "one size, which it is calibrated for: set crop_px, or use another precision"
                )
            view = self._traces.transformed()
            shapes, dtype = [view.shape], view.dtype
        return self._engines.choose(
            {name: self._find_layer(name) for name in layers},
            shapes,
            dtype,
            n_images=n_images,
            samples=samples,
        )

    def _begin(
        self,
        views: Sequence[NDArray[Any]],
        reads: Sequence[Read],
        engine: Engine,
        keep_views: bool,
        pad_to: int | None,
    ) -> Pending:
        """Begin a batch, all its views."""
        n = len(views[0])
        with self._counting:
            self.n_images += n
        layers = {name: self._find_layer(name) for name, _ in reads}
        begun = [self._passes.begin(engine, view, reads, layers, pad_to) for view in views]

        def fetch(_: Any = views) -> list[NDArray[np.float32]]:  # a GPU may yet be reading them
            of_reads = zip(*(pending() for pending in begun), strict=True)
            return [join_views([v[:n] for v in vectors], keep_views) for vectors in of_reads]

        return fetch


def _copy(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float32, copy=True)

"""`load_backbone`: a network by name, or one of your own, ready to give features."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from featx.backbones._weights_file import find_file, read_state_dict
from featx.backbones.backbone import Backbone
from featx.backbones.published import ChosenWeights, choose_weights
from featx.backbones.weights import load_into, state_digest
from featx.engines.engine import Network
from featx.engines.placement import place
from featx.errors import ParameterError, WeightsError
from featx.fingerprint import bytes_digest
from featx.recipe import Preprocessing

__all__ = ["build_network", "describe_transform", "load_backbone"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def load_backbone(
    backbone: str | nn.Module = "featx_base",
    *,
    weights: str | os.PathLike[str] | None = "default",
    transform: Callable[[Any], Any] | None = None,
    preprocessing: Preprocessing | None = None,
    sizes: Sequence[int] = (),
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
) -> Backbone:
    """Load a network for feature extraction.

    Parameters
    ----------
    backbone : str or nn.Module, default "featx_base"
        A name from `list_backbones`, or a network of your own, which is copied.
    weights : str, path or None, default "default"
        "default": the best published ones, for a network of your own those it has. A name such as
        "IMAGENET1K_V1". A local ``.pth`` or ``.safetensors`` file, or a folder with one, of which
        only tensors are read; a published file is recognised by its content or name. None: random
        ones, always the same, for tests.
    transform : callable, optional
        PIL image to float tensor (3, H, W). Default: what the weights were evaluated with; for a
        network of your own the usual 256 px, 224 px crop and ImageNet normalisation.
    preprocessing : Preprocessing, optional
        What images are made into; default what the weights were evaluated with, or, for a file
        that is not recognised, what the network's first published weights were.
    sizes : sequence of int, default ()
        Sides of the square images that it is to take, in pixels; by default that of
        `preprocessing`, else what its weights were evaluated with. For another, timm's
        transformers interpolate their position embeddings in each pass; those that cannot are made
        for one size, as timm does.
    device : str, default "auto"
        "cpu", "cuda", "cuda:1", ...; auto takes a GPU where there is one.
    precision : {"auto", "float32", "bfloat16", "float16", "int8"}, default "auto"
        Auto is bfloat16 where the device computes it natively, else float32. "int8" is OpenVINO's
        on a CPU (``pip install 'featx[int8]'``), quantised after training, and loses some.
    engine : {"auto", "torch", "compile", "openvino"}, default "auto"
        What runs the network. "compile" is `torch.compile`, for a GPU: it takes 15 to 20 s
        for each size of batch (filled up to a power of two). "openvino", on a CPU
        (``pip install 'featx[openvino]'``), gives torch's features to 1e-5 of the largest element
        in float32. Auto takes it for many images at once where it is installed and does that; see
        `Backbone.choose_engine`.

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        If there is no such network, with the nearest name; or it cannot take images of `sizes`,
        with the nearest sizes that it can.
    WeightsError
        If the weights cannot be had, do not fit or hold NaN; offline, with the file to fetch and
        where to put it.
    ParameterError
        If there is no such device, precision or engine, or they do not go together.
    MissingDependencyError
        If the engine is "openvino" and it is not installed.

    Examples
    --------
    >>> from featx import load_backbone
    >>> net = load_backbone("resnet18", weights=None)
    >>> net.layer("penultimate").shape
    (1, 512)
    """
    placement = place(device, precision, engine)
    network = build_network(
        backbone,
        weights=weights,
        transform=transform,
        preprocessing=preprocessing,
        sizes=sizes,
    )
    return Backbone(network, placement)


@torch.inference_mode(False)  # whoever calls: some kernels refuse weights that are made in it
def build_network(
    backbone: str | nn.Module,
    *,
    weights: str | os.PathLike[str] | None = "default",
    transform: Callable[[Any], Any] | None = None,
    preprocessing: Preprocessing | None = None,
    sizes: Sequence[int] = (),
) -> Network:
    """Build a network with its weights, for training; `load_backbone` is for features.

    Parameters and errors are those of `load_backbone`.

    Returns
    -------
    Network
        Of its own: nothing that is done to its module reaches another one.

    Examples
    --------
    >>> build_network("resnet18", weights=None).head
    'fc'
    """
    if isinstance(backbone, str):
        crop_px = None if preprocessing is None else preprocessing.crop_px
        sizes = tuple(sizes) or (() if crop_px is None else (crop_px,))
        network = _build_named(choose_weights(backbone, weights), sizes=sizes)
    else:
        network = _copy_own(backbone, weights)
    if transform is not None:
        preprocessing = Preprocessing(transform=describe_transform(transform))
    if preprocessing is None:
        return network
    return dataclasses.replace(
        network,
        preprocessing=preprocessing,
        preprocessing_reason="as asked for",
        transform=transform,
    )


def _build_named(chosen: ChosenWeights, *, sizes: Sequence[int]) -> Network:
    px = chosen.preprocessing.crop_px
    any_size = any(size != px for size in sizes)
    module, head, origin = chosen.source.load(
        chosen.card, chosen.entry, chosen.path, px=px, any_size=any_size
    )
    name = chosen.card.name
    network = Network(
        name, module, head, chosen.preprocessing, chosen.reason, origin, chosen.license
    )
    if not any_size or len(sizes) > 1:
        return network
    digest = state_digest(module)
    resized = chosen.source.resize(chosen.card, module, sizes[0])
    if resized is None:
        return network
    return dataclasses.replace(network, module=resized, digest=digest, px=sizes[0])


def _copy_own(module: nn.Module, weights: str | os.PathLike[str] | None) -> Network:
    if not isinstance(module, nn.Module):
        raise ParameterError(
            f"backbone: got {type(module).__name__}, expected a name or a torch.nn.Module"
        )
    if weights is None:
        raise WeightsError(
            "weights: got None with a network of your own, expected 'default' (those it has) or a "
            "file; build it with the random weights you want"
        )
    copied, origin = copy.deepcopy(module), "as given"
    if weights != "default":
        path = find_file(os.fspath(weights))
        load_into(copied, read_state_dict(path), name=f"weights {str(path)!r}")
        origin = os.path.abspath(path)  # noqa: PTH100
    name = f"{type(module).__module__}:{type(module).__qualname__}"
    return Network(name, copied, None, Preprocessing(), "for a network of your own", origin)


def describe_transform(transform: Callable[[Any], Any]) -> str:
    """Describe a transform in one line that is the same in every process.

    Parameters
    ----------
    transform : callable
        A function, or an object such as ``torchvision.transforms.Compose``.

    Returns
    -------
    str
        A function's name with a hash of its source; otherwise the object's `repr`. Two objects of
        a class whose `repr` does not tell them apart are taken for the same: give such a class a
        `__repr__` with its settings.

    Examples
    --------
    >>> from torchvision.transforms import CenterCrop, Compose, ToTensor
    >>> describe_transform(Compose([CenterCrop(8), ToTensor()]))
    'Compose( CenterCrop(size=(8, 8)) ToTensor() )'
    """
    if inspect.isroutine(transform):
        name = f"{transform.__module__}:{transform.__qualname__}"
        try:
            source = inspect.getsource(transform)
        except (OSError, TypeError):  # typed at a prompt, or built in
            code = getattr(transform, "__code__", None)
            source = "" if code is None else repr((code.co_code, code.co_names))
        return f"{name} {bytes_digest(source.encode())[:16]}"
    return " ".join(_ADDRESS.sub("", repr(transform)).split())

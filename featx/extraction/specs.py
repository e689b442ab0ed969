"""Which vectors to read from a network: layers, each with its poolings."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featx.errors import BackboneError, ParameterError

if TYPE_CHECKING:
    from featx.backbones import Backbone
    from featx.engines.layers import LayerOutput
    from featx.pooling import Pooling

__all__ = ["FeatureSpec", "plan_features"]

# The last norm of timm's transformers and of torchvision's.
NORMS = ("norm", "encoder.ln")


@dataclass(frozen=True)
class FeatureSpec:
    """One vector to read from a network.

    Parameters
    ----------
    layer : str
        "penultimate", "output" or a module's dotted name.
    pooling : Pooling
        What makes the layer's output a vector.
    n_features : int
        Length of the vector, of one view.
    """

    layer: str
    pooling: Pooling
    n_features: int


def plan_features(
    backbone: Backbone,
    layers: Sequence[str | None] = (None,),
    poolings: Sequence[str | None] = (None,),
    *,
    sizes: Sequence[int] = (),
) -> tuple[FeatureSpec, ...]:
    """Pair every layer with every pooling, layers outermost.

    Parameters
    ----------
    backbone : Backbone
        Costs one pass of a blank image at the first call.
    layers : sequence of str or None
        None is `Backbone.default_layer`; for "cls+avg" and "patch" the tokens after a
        transformer's last norm, where it has them.
    poolings : sequence of str or None
        See `featx.pooling.get_pooling`. None, by what each layer gives: "avg" for a map, "none"
        for a vector, for tokens "cls" where the network has a class token, else "avg".
    sizes : sequence of int, default ()
        Sides of the views in pixels; default `Backbone.trial_px`. Each costs a pass of a blank
        image at the first call.

    Raises
    ------
    BackboneError
        If there is no such layer, or the network does not take images of these sizes.
    ParameterError
        If there is no such pooling, it does not take what the layer gives, or nothing or something
        twice is asked for.

    Examples
    --------
    >>> from featx import load_backbone
    >>> specs = plan_features(load_backbone("resnet18", weights=None), ["layer3", "layer4"])
    >>> [(s.layer, s.pooling.name, s.n_features) for s in specs]
    [('layer3', 'avg', 256), ('layer4', 'avg', 512)]
    """
    from featx.pooling import get_pooling

    specs: list[FeatureSpec] = []
    for asked in layers:
        for pooling in poolings:
            name = asked or _default_layer(backbone, pooling, next(iter(sizes), None))
            layers_of = [backbone.layer(name, px=px) for px in sizes or (None,)]
            chosen = get_pooling(pooling or _default_pooling(backbone, layers_of[0]))
            chosen = _count_tokens(backbone, layers_of[0], chosen)
            of_sizes = [_spec(backbone, layer, chosen) for layer in layers_of]
            specs.append(_require_one_width(of_sizes, sizes))
    if not specs:
        raise ParameterError("layers, poolings: got none, expected at least one of each")
    for i, spec in enumerate(specs):
        if spec in specs[:i]:
            raise ParameterError(
                f"layers, poolings: got {spec.layer!r} with {spec.pooling.name!r} twice, expected "
                "each pair once"
            )
    return tuple(specs)


def _spec(backbone: Backbone, layer: LayerOutput, pooling: Pooling) -> FeatureSpec:
    if (
        pooling.name == "flatten"
        and len(layer.shape) > 2
        and backbone.transform is None
        and backbone.preprocessing.crop_px is None
    ):
        raise ParameterError(
            f"layer {layer.name!r} of {backbone.name!r}: got pooling 'flatten' with images of any "
            "size, expected one that gives vectors of one length, such as 'avg'; or a "
            "preprocessing that crops"
        )
    try:
        return FeatureSpec(layer.name, pooling, pooling.n_features(layer.shape))
    except ParameterError as err:
        raise ParameterError(f"layer {layer.name!r} of {backbone.name!r}: {err}") from err


def _require_one_width(specs: Sequence[FeatureSpec], sizes: Sequence[int]) -> FeatureSpec:
    widths = [spec.n_features for spec in specs]
    if len(set(widths)) > 1:
        raise ParameterError(
            f"layer {specs[0].layer!r}: got pooling {specs[0].pooling.name!r} for views of "
            f"{', '.join(map(str, sizes))} px, of which it makes {', '.join(map(str, widths))} "
            "numbers, expected as many of each; use another pooling, such as 'avg', or views of "
            "one size"
        )
    return specs[0]


def _default_layer(backbone: Backbone, pooling: str | None, px: int | None) -> str:
    from featx.pooling import TokenPooling, get_pooling

    if pooling is not None and isinstance(get_pooling(pooling), TokenPooling):
        for name in NORMS:
            with contextlib.suppress(BackboneError):  # that there is none such
                if len(backbone.layer(name, px=px).shape) == 3:
                    return name
    return backbone.default_layer


def _count_tokens(backbone: Backbone, layer: LayerOutput, pooling: Pooling) -> Pooling:
    """Tell a pooling of tokens which are patches, and of how many blocks they are."""
    from featx.pooling import TokenPooling

    if not isinstance(pooling, TokenPooling) or len(layer.shape) != 3:
        return pooling
    n = backbone.n_prefix_tokens
    # Patches of a square image fill a square: a stem gives them alone.
    has_none = _is_square(layer.shape[1]) and not _is_square(layer.shape[1] - n)
    n_blocks = max(len(layer.blocks), 1)
    return dataclasses.replace(pooling, n_prefix=0 if has_none else n, n_blocks=n_blocks)


def _is_square(n: int) -> bool:
    return n > 0 and math.isqrt(n) ** 2 == n


def _default_pooling(backbone: Backbone, layer: LayerOutput) -> str:
    if len(layer.shape) == 3:
        return "cls" if backbone.has_class_token else "avg"
    return "avg" if len(layer.shape) == 4 else "none"

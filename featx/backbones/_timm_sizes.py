"""timm's networks for images of another size than their weights were trained on."""

from __future__ import annotations

import contextlib
import copy
import warnings
from typing import Any

import torch
from torch import nn

from featx.backbones._traces import explain_size
from featx.errors import BackboneError

__all__ = ["resize_network"]

NOT_RESAMPLED = "timm does not resample its weights for them"


def resize_network(module: nn.Module, px: int, *, network: str, usual_px: int) -> nn.Module | None:
    """Make a network of timm one for images of another size, as timm itself does.

    Parameters
    ----------
    module : nn.Module
        With its weights, for images of `usual_px`; may be changed.
    px : int
        Side of the images.
    network : str
        The network, for the message.
    usual_px : int

    Returns
    -------
    nn.Module or None
        None where it interpolates in each pass, takes such images as it is, or has nothing that
        depends on their size.

    Raises
    ------
    BackboneError
        If timm cannot, with the nearest sizes for which it can.
    """
    module.eval()
    # What runs as it is stays as it is: its tables were made so before there was this function.
    if getattr(module, "dynamic_img_size", False) or _runs(module, px):
        return None
    ghost = copy.deepcopy(module).to("meta")  # shapes without numbers: trials are cheap
    try:
        return _resize(module, px)
    except Exception as err:
        said = err if isinstance(err, _NoMultipleError) else ValueError(NOT_RESAMPLED)
        raise BackboneError(
            explain_size(lambda n: n == usual_px or _can(ghost, n), px, network, said, usual_px)
        ) from err


class _NoMultipleError(Exception):
    """A size that cuts patches or windows apart; some networks would leave a border out."""


def _resize(module: Any, px: int) -> nn.Module | None:
    with warnings.catch_warnings():  # torch's, of how timm interpolates relative positions
        warnings.simplefilter("ignore")
        resized = _resample(module, px)
    if resized is not None and not _runs(resized, px):
        raise ValueError(NOT_RESAMPLED)
    return resized


def _resample(module: Any, px: int) -> nn.Module | None:
    has_method = hasattr(module, "set_input_size")
    options: dict[str, Any] = {"img_size": px}
    config = getattr(module, "pretrained_cfg", {})
    blank = None if has_method else _create(config, **options)
    if not has_method and blank is None:
        return None
    if px % _step(module):
        raise _NoMultipleError(f"{px} px is no multiple of {_step(module)}")
    if has_method:
        module.set_input_size(img_size=(px, px))
        return module  # type: ignore[no-any-return]
    assert blank is not None
    # Through timm's own loading, which resamples; a classifier that was left out stays out.
    state = {**blank.state_dict(), **module.state_dict()}
    overlay = {"state_dict": state, "source": "", "label_offset": 0}
    resized = _create(config, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    assert resized is not None
    for name, part in module.named_children():
        if isinstance(part, nn.Identity):
            setattr(resized, name, part)
    return resized.eval()


def _step(module: nn.Module) -> int:
    """Return the side in pixels of what one position of the last map is made from."""
    stages: Any = getattr(module, "feature_info", ())
    return max((int(stage["reduction"]) for stage in stages), default=1)


def _create(config: dict[str, Any], **options: Any) -> nn.Module | None:
    """Build a network of timm; None where it has no such option."""
    import timm

    with contextlib.suppress(TypeError):
        module: nn.Module = timm.create_model(config["architecture"], **options)
        return module
    return None


def _runs(module: nn.Module, px: int) -> bool:
    first = next(module.parameters(), torch.empty(0))
    with contextlib.suppress(Exception), torch.inference_mode():
        module(torch.zeros(1, 3, px, px, device=first.device))
        return True
    return False


def _can(ghost: nn.Module, px: int) -> bool:
    if px % _step(ghost):
        return False
    with contextlib.suppress(Exception), torch.device("meta"):
        return _resize(copy.deepcopy(ghost), px) is not None
    return False

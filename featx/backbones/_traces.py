"""The layers of a network, for images of each size that is asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.engines.engine import Network
from featx.engines.layers import LayerOutput
from featx.errors import BackboneError, one_line

__all__ = ["Traces", "explain_size"]

TRIAL_PX = 224
# Sides of patches and windows; further away than this there is no nearest size to be found.
STEPS_PX, REACH_PX = (14, 16, 32), 64
# Up to here every size is tried: what a convolutional network can do without is any number.
SMALL_PX = 128


class Traces:
    """What each layer gives for a blank image; each size costs a pass of one at the first call.

    Parameters
    ----------
    trace : callable
        Describes the layers for a blank view (1, ...).
    network : Network
        Its name is for messages; its transform, if it has one, makes the view.

    Attributes
    ----------
    usual_px : int
        Side of the blank image where none is asked for: that of the network's own crop, or the one
        that it was resampled for.
    """

    def __init__(
        self, trace: Callable[[NDArray[Any]], dict[str, LayerOutput]], network: Network
    ) -> None:
        self._trace, self._transform, self._network = trace, network.transform, str(network)
        made = network.preprocessing
        self.usual_px = network.px or made.crop_px or made.resize_px or TRIAL_PX
        self._found: dict[int, dict[str, LayerOutput]] = {}  # by side of the image
        self._any: dict[str, LayerOutput] | None = None

    def at(self, px: int | None = None) -> dict[str, LayerOutput]:
        """Return the layers for images of `px`, by name.

        Raises
        ------
        BackboneError
            If the network does not take them.
        """
        px = self.usual_px if px is None or self._transform is not None else px
        if px not in self._found:
            try:
                self._found[px] = self._trace(self._blank(px))
            except BackboneError as err:
                if px == self.usual_px:
                    raise
                cause = err.__cause__ or err
                raise BackboneError(
                    explain_size(self._takes, px, self._network, cause, self.usual_px)
                ) from err
        return self._found[px]

    def of_any_size(self) -> dict[str, LayerOutput]:
        """Return the layers for images of the usual size, else of one that was asked about.

        A network that takes one size only may not take the usual one.
        """
        if self._any is None:
            try:
                self._any = self.at()
            except BackboneError:
                if not self._found:
                    raise
                self._any = next(iter(self._found.values()))
        return self._any

    def transformed(self) -> NDArray[np.float32]:
        """Return what the user's transform makes of a blank image."""
        assert self._transform is not None
        picture = Image.new("RGB", (2 * TRIAL_PX, 2 * TRIAL_PX))
        try:
            return np.asarray(self._transform(picture), np.float32)
        except Exception as err:
            raise BackboneError(
                f"{self._network}: its transform raised {type(err).__name__} on a blank "
                f"RGB image ({one_line(err)}); expected a callable that turns a PIL image into a "
                "float tensor (3, H, W)"
            ) from err

    def _takes(self, px: int) -> bool:
        try:
            self._trace(self._blank(px))
        except BackboneError:
            return False
        return True

    def _blank(self, px: int) -> NDArray[Any]:
        if self._transform is None:
            return np.zeros((1, px, px, 3), np.uint8)
        return self.transformed()[None]


def explain_size(
    takes: Callable[[int], bool], px: int, network: str, cause: BaseException, usual_px: int
) -> str:
    """Return a message with the nearest sizes below and above that a network takes.

    Parameters
    ----------
    takes : callable
        Tells whether it takes square images of a side in pixels; asked of those nearby.
    px : int
        The side that it refused.
    network : str
        The network.
    cause : exception
        What it said.
    usual_px : int
        The side that its weights were trained or evaluated on.

    Examples
    --------
    >>> explain_size(lambda px: px % 16 == 0, 100, "net", ValueError("no"), 224)[:75]
    'net: does not take images of 100 x 100 px (no), expected 96 or 112 px: set '
    """
    below = next((n for n in reversed(_nearby(px)) if n < px and takes(n)), None)
    above = next((n for n in _nearby(px) if n > px and takes(n)), None)
    found = [n for n in (below, above) if n is not None]
    if found == [above] and above is not None and takes(above + 1):
        expected = f"{above} px or more"
    elif found and found != [usual_px]:
        expected = f"{' or '.join(map(str, found))} px"
    else:
        expected = f"{usual_px} px only"
    return (
        f"{network}: does not take images of {px} x {px} px ({one_line(cause)}), "
        f"expected {expected}: set crop_px (--crop) and views (--augment) to fit, or leave them "
        f"out for the {usual_px} px of its weights"
    )


def _nearby(px: int) -> list[int]:
    last = px + REACH_PX if px > SMALL_PX else max(px + REACH_PX, SMALL_PX)
    return [
        n
        for n in range(max(1, px - REACH_PX), last + 1)
        if n <= SMALL_PX or any(n % step == 0 for step in STEPS_PX)
    ]

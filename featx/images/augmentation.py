"""`Augmentation`: which views of an image go through the network, parsed from its short name."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Self

from featx.errors import ParameterError, nearest

__all__ = ["AUGMENTS", "STRIDE_PX", "Augmentation"]

N_VIEWS = {"none": 1, "hflip": 2, "ten-crop": 10, "multi-scale": 3, "sixteen-view": 16}
AUGMENTS = (*N_VIEWS, *(f"patches({levels})" for levels in range(1, 7)))
KEEP = ":keep"
# Total stride of nearly every classification network: crops of whole multiples waste no border.
STRIDE_PX = 32
STEP = re.compile(r"multi-scale\(([1-9][0-9]?)\)")


@dataclass(frozen=True)
class Augmentation:
    """The views that are taken of each image, and what becomes of their features.

    Parameters
    ----------
    kind : str
        "none", "hflip", "ten-crop", "multi-scale", "sixteen-view" or "patches".
    levels : int, default 0
        Of "patches": 1 to 6; 0 for the others.
    keeps_views : bool, default False
        Whether the features of the views lie side by side in a row; else they are averaged.
    step_px : int, default 32
        Of "multi-scale": what its crops are rounded to multiples of, in pixels. It follows from
        the network, and is written where it is another: "multi-scale(14)".

    Examples
    --------
    >>> augmentation = Augmentation.parse("patches(2):keep")
    >>> augmentation
    Augmentation(kind='patches', levels=2, keeps_views=True, step_px=32)
    >>> augmentation.n_views, str(augmentation)
    (5, 'patches(2):keep')
    """

    kind: str
    levels: int = 0
    keeps_views: bool = False
    step_px: int = STRIDE_PX

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name such as "multi-scale" or "ten-crop:keep".

        Raises
        ------
        ParameterError
            If there is no such augmentation; with the nearest.
        """
        name = text.removesuffix(KEEP)
        step = STEP.fullmatch(name)
        if step is not None:
            return cls("multi-scale", keeps_views=name != text, step_px=int(step[1]))
        if name not in AUGMENTS:
            raise ParameterError(
                f"augment: got {text!r}, expected one of {', '.join(AUGMENTS)}, each also "
                f"with {KEEP!r}.{nearest(name, AUGMENTS)}"
            )
        kind, _, levels = name.rstrip(")").partition("(")
        return cls(kind, int(levels or 0), name != text)

    @property
    def n_views(self) -> int:
        """Number of views of an image; of patches 1, 5, 14, 30, 55 or 91."""
        n = self.levels
        return N_VIEWS.get(self.kind) or n * (n + 1) * (2 * n + 1) // 6

    @property
    def needs_crop(self) -> bool:
        """Whether the views are crops, so that a size of theirs must be known."""
        return self.kind not in ("none", "hflip", "multi-scale")

    @property
    def asked(self) -> str:
        """Name by which it is asked for of any network.

        Examples
        --------
        >>> Augmentation.parse("multi-scale(14):keep").asked
        'multi-scale:keep'
        """
        return str(dataclasses.replace(self, step_px=STRIDE_PX))

    def __str__(self) -> str:
        number = self.levels or (self.step_px if self.step_px != STRIDE_PX else 0)
        name = f"{self.kind}({number})" if number else self.kind
        return f"{name}{KEEP}" if self.keeps_views else name

"""Labels of many attributes with their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError

__all__ = ["Targets"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """Labels and weights, (n_samples, n_attributes) each.

    Parameters
    ----------
    signs : ndarray
        1 for yes, -1 for no or not known.
    codes : ndarray of int
        1, 0, or -1 for not known.
    weights, loss_weights : ndarray
        Without and with the balance between yes and no; 0 for not known.
    constant : ndarray of shape (n_attributes,)
        The only value of an attribute, NaN where it has both.
    """

    signs: Array
    codes: NDArray[np.intp]
    weights: Array
    loss_weights: Array
    constant: Array

    @classmethod
    def build(
        cls, Y: Array, sample_weight: Array, names: Sequence[str], *, balanced: bool
    ) -> Targets:
        """Read 0, 1 and NaN.

        Raises
        ------
        ParameterError
            Naming the attributes that have no label at all.
        """
        known = ~np.isnan(Y)
        empty = [name for i, name in enumerate(names) if not known[:, i].any()]
        if empty:
            raise ParameterError(
                f"y: attributes without a single known label: {', '.join(map(repr, empty[:10]))}"
                f"{' and more' if len(empty) > 10 else ''}; leave these columns out"
            )
        codes = np.where(known, np.nan_to_num(Y), -1).astype(np.intp)
        weights = known * sample_weight[:, None]
        yes, no = ((weights * (codes == code)).sum(axis=0) for code in (1, 0))
        constant = np.where(no == 0, 1.0, np.where(yes == 0, 0.0, np.nan))
        loss_weights = weights
        if balanced:
            both = np.isnan(constant)
            total = yes + no
            factor_yes = np.where(both, total / np.where(both, 2 * yes, 1), 1)
            factor_no = np.where(both, total / np.where(both, 2 * no, 1), 1)
            loss_weights = weights * np.where(codes == 1, factor_yes, factor_no)
        return cls(np.where(codes == 1, 1.0, -1.0), codes, weights, loss_weights, constant)

    def only(self, columns: NDArray[np.intp]) -> Targets:
        """Return the attributes of these numbers."""
        return Targets(
            self.signs[:, columns],
            self.codes[:, columns],
            self.weights[:, columns],
            self.loss_weights[:, columns],
            self.constant[columns],
        )

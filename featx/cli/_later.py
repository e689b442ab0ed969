"""scikit-learn without what it imports and seldom uses: pandas, and the statistics of scipy.

They take two thirds of its import, and a query or a prediction uses neither. In a process of the
command line they are imported when something of them is asked for; in Python scikit-learn is
imported as ever.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from featx._optional import is_installed

__all__ = ["import_scikit_learn"]

SELDOM = ("pandas", "scipy.stats")


class _Later(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def import_scikit_learn() -> None:
    """Import scikit-learn's base, and what it seldom uses later.

    Examples
    --------
    >>> import_scikit_learn()
    >>> import pandas, scipy.stats
    >>> pandas.Series([1, 2]).sum(), scipy.stats.rankdata([3, 1]).tolist()
    (np.int64(3), [2.0, 1.0])
    """
    waiting = [name for name in SELDOM if name not in sys.modules and is_installed(name)]
    sys.modules.update({name: _Later(name) for name in waiting})
    try:
        importlib.import_module("sklearn.base")
    finally:  # whoever looks there whether pandas has been imported is told the truth
        for name in waiting:
            if isinstance(sys.modules.get(name), _Later):
                del sys.modules[name]

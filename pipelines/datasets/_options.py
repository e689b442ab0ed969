"""Values that an option of a reader may have."""

from __future__ import annotations

from typing import Any

from featx.errors import ParameterError

__all__ = ["require_flag", "require_partition"]


def require_partition(name: str, partition: Any, n_partitions: int) -> None:
    """Refuse what is no whole number from 1 to `n_partitions`."""
    is_number = isinstance(partition, int) and not isinstance(partition, bool)
    if not is_number or not 1 <= partition <= n_partitions:
        raise ParameterError(
            f"dataset {name!r}: got partition={partition!r}, expected 1 to {n_partitions}"
        )


def require_flag(name: str, option: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise ParameterError(f"dataset {name!r}: got {option}={value!r}, expected True or False")

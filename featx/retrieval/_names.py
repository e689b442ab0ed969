"""Re-rankings by name, with their defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featx.errors import ParameterError, nearest
from featx.retrieval._diffusion import DiffusionReranking
from featx.retrieval._expansion import AlphaQueryExpansion, AverageQueryExpansion
from featx.retrieval._k_reciprocal import KReciprocalReranking
from featx.retrieval._rerank import Reranking
from featx.retrieval._verification import SpatialVerification

__all__ = ["RERANKINGS", "reranking"]

RERANKINGS: dict[str, Callable[[], Reranking]] = {
    "aqe": AverageQueryExpansion,
    "alpha-qe": AlphaQueryExpansion,
    "k-reciprocal": KReciprocalReranking,
    "diffusion": DiffusionReranking,
    "spatial": SpatialVerification,
}


def reranking(rerank: Any) -> Reranking | None:
    """Return what a name or an object stands for; None for plain distance.

    Raises
    ------
    ParameterError
        If there is no such name, with the nearest one, or the object cannot rank.
    """
    if rerank is None or rerank == "none":
        return None
    if isinstance(rerank, str):
        if rerank not in RERANKINGS:
            raise ParameterError(
                f"rerank: got {rerank!r}, expected one of none, {', '.join(RERANKINGS)}, or an "
                f"object that ranks.{nearest(rerank, ['none', *RERANKINGS])}"
            )
        return RERANKINGS[rerank]()
    if isinstance(rerank, type) or not callable(getattr(rerank, "rank", None)):
        raise ParameterError(
            f"rerank: got {rerank!r}, expected one of none, {', '.join(RERANKINGS)}, or an object "
            "with a method rank, such as AlphaQueryExpansion(n=10)"
        )
    ranks: Reranking = rerank
    return ranks

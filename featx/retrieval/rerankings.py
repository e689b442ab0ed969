"""Re-rankings by name, with their defaults. A new one is a module, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featx.errors import ParameterError, nearest
from featx.retrieval._diffusion import DiffusionReranking
from featx.retrieval._expansion import AlphaQueryExpansion, AverageQueryExpansion
from featx.retrieval._k_reciprocal import KReciprocalReranking
from featx.retrieval._verification import SpatialVerification
from featx.retrieval.ranking import Reranking

__all__ = ["RERANKINGS", "resolve_rerankings"]

RERANKINGS: dict[str, Callable[[], Reranking]] = {
    "aqe": AverageQueryExpansion,
    "alpha-qe": AlphaQueryExpansion,
    "k-reciprocal": KReciprocalReranking,
    "diffusion": DiffusionReranking,
    "spatial": SpatialVerification,
}


def resolve_rerankings(rerank: Any) -> tuple[Reranking, ...]:
    """Return what a name, an object or a sequence of these stands for; none for plain distance.

    Raises
    ------
    ParameterError
        If there is no such name, with the nearest one, or an object cannot rank.
    """
    if rerank is None or (isinstance(rerank, str) and rerank == "none"):
        return ()
    if isinstance(rerank, list | tuple):
        return tuple(one for each in rerank for one in resolve_rerankings(each))
    if isinstance(rerank, str) and rerank in RERANKINGS:
        return (RERANKINGS[rerank](),)
    if isinstance(rerank, str | type) or not hasattr(rerank, "rank"):
        guess = nearest(rerank, ["none", *RERANKINGS]) if isinstance(rerank, str) else ""
        raise ParameterError(
            f"rerank: got {rerank!r}, expected one of none, {', '.join(RERANKINGS)}, or an object "
            f"with a method rank, such as AlphaQueryExpansion(n=10), or a list of these.{guess}"
        )
    return (rerank,)

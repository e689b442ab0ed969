"""`Matches`: what an index answered, as arrays, as a table, and as pictures; and fused."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.errors import ImageDecodeError, ParameterError, require_count, require_number

__all__ = ["Matches", "fuse_matches"]

THUMBNAIL_PX = 96
MAX_SHOWN = 20
# Cormack et al. chose 60 in a pilot and found that little depends on it.
RANK_OFFSET = 60


@dataclass(frozen=True, repr=False)
class Matches:
    """Nearest neighbours, best first. ``ids, distances = matches`` takes it apart.

    Parameters
    ----------
    ids : ndarray of shape (k,), or (n_queries, k) where several were asked
        Of an index on a store: the images' paths.
    distances : ndarray of the same shape, float32
        Ascending.
    indices : ndarray of the same shape, intp
        Rows of the index.
    labels : ndarray of the same shape, or None
        What the index knows of them; None where it has no labels.
    queries : tuple of str
        What was asked, one name per query: a path, or what kind of image or vector.
    inliers : ndarray of the same shape, intp, or None
        Pairs of local features that agree, where images were compared (rerank "spatial", and
        `InstanceIndex`); -1 where they were not.
    regions : ndarray of the same shape and (4, 2), float32, or None
        Where the query's corners (top left, top right, bottom right, bottom left) are in each
        match, as shares of its width and height, where features agree; else NaN.

    Examples
    --------
    >>> from featx import RetrievalIndex
    >>> index = RetrievalIndex().fit([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], ids=["e", "n", "ne"])
    >>> ids, distances = index.query([2.0, 0.5], k=2)
    >>> ids.tolist(), distances.round(2)
    (['e', 'ne'], array([0.03, 0.14], dtype=float32))
    """

    ids: NDArray[Any]
    distances: NDArray[np.float32]
    indices: NDArray[np.intp]
    labels: NDArray[Any] | None = None
    queries: tuple[str, ...] = ("query",)
    inliers: NDArray[np.intp] | None = None
    regions: NDArray[np.float32] | None = None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.ids, self.distances))

    def __getitem__(self, query: int) -> Matches:
        """Return the matches of one query of several."""
        if self.ids.ndim == 1:
            raise ParameterError("matches of one query: got an index, expected none; use .ids")
        return self._take(query, (self.queries[query],))

    def select(self, kept: Any) -> Matches:
        """Return some matches of a single query, by number or mask."""
        return self._take(kept, self.queries)

    def _take(self, at: Any, queries: tuple[str, ...]) -> Matches:
        labels, inliers, regions = (
            None if c is None else c[at] for c in (self.labels, self.inliers, self.regions)
        )
        return Matches(
            self.ids[at], self.distances[at], self.indices[at], labels, queries, inliers, regions
        )

    @property
    def n_queries(self) -> int:
        """Number of queries, 1 for a single one."""
        return len(self.queries)

    def each(self) -> list[Matches]:
        """Return the matches of each query."""
        return [self] if self.ids.ndim == 1 else [self[i] for i in range(self.n_queries)]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return ``{"query", "matches": [{"path", "distance", "label"}]}`` for each query.

        JSON-serialisable; "label" only where the index has labels, "inliers" only where images
        were compared, and "region" (None, or four points) where they were compared by an
        `InstanceIndex`.
        """
        results = []
        for one in self.each():
            rows = zip(one.ids.tolist(), one.distances.tolist(), strict=True)
            found: list[dict[str, Any]] = [{"path": i, "distance": d} for i, d in rows]
            for name, column in (("label", one.labels), ("inliers", one.inliers)):
                if column is not None:
                    for row, value in zip(found, column.tolist(), strict=True):
                        row[name] = value
            if one.regions is not None:
                for row, region in zip(found, one.regions, strict=True):
                    row["region"] = region.tolist() if np.isfinite(region).all() else None
            results.append({"query": one.queries[0], "matches": found})
        return results

    def __repr__(self) -> str:
        lines = []
        for one in self.each()[:MAX_SHOWN]:
            lines.append(f"{one.queries[0]}")
            labels = [""] * len(one.ids) if one.labels is None else one.labels.tolist()
            rows = zip(one.distances.tolist(), one.ids.tolist(), labels, strict=True)
            lines += [f"  {d:8.4f}  {i}  {label}".rstrip() for d, i, label in rows]
        if self.n_queries > MAX_SHOWN:
            lines.append(f"... and {self.n_queries - MAX_SHOWN} more queries")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show thumbnails in a notebook; images that cannot be read are named."""
        rows = []
        for one in self.each()[:MAX_SHOWN]:
            cells = [_cell(one.queries[0], "query")]
            cells += [
                _cell(i, f"{d:.3f}")
                for i, d in zip(one.ids.tolist(), one.distances.tolist(), strict=True)
            ]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        left = self.n_queries - MAX_SHOWN
        more = f"<p>... and {left} more queries</p>" if left > 0 else ""
        return f"<table>{''.join(rows)}</table>{more}"

    def plot(self, *, max_queries: int = 8, images: Sequence[Any] | None = None) -> Any:
        """Draw a contact sheet: a row for each query, the query first.

        Parameters
        ----------
        max_queries : int, default 8
            Rows drawn at most.
        images : sequence, optional
            The database's images by row of the index, where ids are no paths.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        figure_module = require("matplotlib.figure", extra="plot", purpose="Matches.plot")
        shown = self.each()[:max_queries]
        n_columns = 1 + self.ids.shape[-1]
        figure = figure_module.Figure(
            figsize=(1.5 * n_columns, 1.75 * len(shown)), layout="constrained"
        )
        axes = figure.subplots(len(shown), n_columns, squeeze=False)
        for row, one in zip(axes, shown, strict=True):
            sources = one.ids.tolist() if images is None else [images[i] for i in one.indices]
            titles = ["query", *(f"{d:.3f}" for d in one.distances.tolist())]
            for axis, source, title in zip(row, [one.queries[0], *sources], titles, strict=True):
                axis.set_axis_off()
                axis.set_title(title, fontsize=9)
                _draw(axis, source)
        return figure


def _draw(axis: Any, source: Any) -> None:
    from featx.images import decode_image
    from featx.images.inputs import as_uint8_rgb

    try:
        if isinstance(source, str | os.PathLike):
            axis.imshow(decode_image(source, min_px=THUMBNAIL_PX))
        elif isinstance(source, int):
            axis.text(0.5, 0.5, str(source), ha="center", va="center", fontsize=7)
        else:
            axis.imshow(as_uint8_rgb(source))
    except ImageDecodeError as err:
        name = os.path.basename(os.fspath(source))  # noqa: PTH119
        axis.text(0.5, 0.5, f"{name}\n{err}", ha="center", va="center", fontsize=5, wrap=True)


def _cell(source: Any, caption: str) -> str:
    from featx.images.thumbnail import thumbnail_jpeg

    name = html.escape(str(source), quote=True)
    try:
        data = thumbnail_jpeg(source, THUMBNAIL_PX).data if isinstance(source, str) else b""
    except ImageDecodeError:
        data = b""
    picture, least_px = name, THUMBNAIL_PX + 40
    if data:
        uri = base64.b64encode(data).decode("ascii")
        # At its size, whatever a page says of pictures: a row that is too long scrolls.
        style = 'style="max-width:none"'
        least_px = THUMBNAIL_PX
        picture = f'<img {style} src="data:image/jpeg;base64,{uri}" alt="{name}" title="{name}">'
    style = f"text-align:center;min-width:{least_px}px;overflow-wrap:anywhere"
    return f'<td style="{style}">{picture}<br>{html.escape(caption)}</td>'


def fuse_matches(
    matches: Sequence[Matches], weights: Sequence[float] | None = None, *, k: int | None = None
) -> Matches:
    """Fuse the answers of several indices to the same queries, by rank.

    Ranks can be compared where distances of different networks or metrics cannot.

    Parameters
    ----------
    matches : sequence of Matches
        Of the same queries in the same order, of indices whose ids mean the same. The deeper each
        is, the better: an id that one of them lacks counts there as not found.
    weights : sequence of float, optional
        One for each, at least 0. Default 1.
    k : int, optional
        Ids kept for each query. Default: as many as the shortest has.

    Returns
    -------
    Matches
        `indices` and `labels` (where all have some) are those of the first of the rankings that
        has the id. Distances are 1 less the score over the largest possible: 0 for an id that is
        first everywhere.

    Raises
    ------
    ParameterError
        If nothing is given, or the queries or weights do not fit.

    Notes
    -----
    Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual
    rank learning methods", SIGIR 2009: an id's score is the sum of weight / (60 + rank), ranks
    from 1.

    Examples
    --------
    >>> from featx import RetrievalIndex
    >>> a = RetrievalIndex().fit([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ids=["x", "y", "z"])
    >>> b = RetrievalIndex().fit([[0.0, 1.0], [0.9, 0.1], [0.5, 0.5]], ids=["x", "y", "z"])
    >>> fuse_matches([i.query([1.0, 0.0], k=3) for i in (a, b)]).ids.tolist()
    ['y', 'x', 'z']
    """
    shares = _check_fusion(matches, weights)
    lengths = [one.ids.shape[-1] for one in matches]
    if k is not None:
        require_count("k", k)
    k = min(min(lengths) if k is None else k, max(lengths))
    points = np.concatenate(
        [w / (RANK_OFFSET + 1 + np.arange(n)) for w, n in zip(shares, lengths, strict=True)]
    )

    def join(name: str) -> NDArray[Any]:
        """Put what the rankings have side by side, (n_queries, sum of lengths)."""
        return np.concatenate([np.atleast_2d(getattr(one, name)) for one in matches], axis=1)

    best = [_select_best(ids, points, k) for ids in join("ids").tolist()]
    places = np.array([[place for place, _ in one] for one in best], np.intp).reshape(-1, k)
    scores = np.array([[score for _, score in one] for one in best]).reshape(-1, k)

    def take(name: str) -> NDArray[Any]:
        return np.take_along_axis(join(name), places, axis=1)

    distances = np.maximum(1 - scores / (shares.sum() / (RANK_OFFSET + 1)), 0)
    fused = Matches(
        take("ids"),
        distances.astype(np.float32),
        take("indices"),
        take("labels") if all(one.labels is not None for one in matches) else None,
        matches[0].queries,
    )
    return fused[0] if matches[0].ids.ndim == 1 else fused


def _select_best(ids: list[Any], points: NDArray[Any], k: int) -> list[tuple[int, float]]:
    """Return where the k best ids come first, and their scores; equal ones stay in order."""
    places: dict[Any, int] = {}
    scores: dict[Any, float] = {}
    for place, (name, score) in enumerate(zip(ids, points.tolist(), strict=True)):
        places.setdefault(name, place)
        scores[name] = scores.get(name, 0.0) + score
    best = sorted(scores, key=lambda name: -scores[name])[:k]
    return [(places[name], scores[name]) for name in best]


def _check_fusion(matches: Sequence[Matches], weights: Sequence[float] | None) -> NDArray[Any]:
    """Return the weight of each ranking; they must be of the same queries."""
    if not matches:
        raise ParameterError("matches: got none, expected the answers of one index at least")
    for i, one in enumerate(matches):
        if one.queries != matches[0].queries or one.ids.ndim != matches[0].ids.ndim:
            raise ParameterError(
                f"matches[{i}]: got {one.n_queries} queries ({one.queries[0]!r} first), expected "
                f"the {matches[0].n_queries} of matches[0] ({matches[0].queries[0]!r} first)"
            )
    if weights is None:
        return np.ones(len(matches))
    if len(weights) != len(matches):
        raise ParameterError(
            f"weights: got {len(weights)}, expected {len(matches)}, one for each of the matches"
        )
    for i, weight in enumerate(weights):
        require_number(f"weights[{i}]", weight, 0, np.inf)
    if not sum(weights) > 0:
        raise ParameterError(f"weights: got {list(weights)}, expected one above 0 at least")
    return np.asarray(weights, float)

"""`SpatialVerification`: candidates in the order of what they show in the same places."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from featx._repr import OneLine
from featx.errors import (
    FingerprintMismatchError,
    ImageDecodeError,
    ParameterError,
    require_count,
    require_number,
)
from featx.retrieval._local import Agreement, LocalReader, learn_reader, match_features
from featx.retrieval._vectors import Rows
from featx.retrieval.ranking import Ranking, RankingInput, reorder

__all__ = ["SpatialVerification"]


@dataclass(frozen=True, repr=False)
class SpatialVerification(OneLine):
    """Compare the query's image with the first candidates' images, position by position.

    Finds one object (a cover, a building, a product) in other pictures of it, where one
    vector for the whole picture has lost where things are. It does not help to find objects of a
    kind. Needs the images: queries are images, and the index's ids their paths.

    Parameters
    ----------
    n_candidates : int, default 100
        First rows of the plain ranking whose images are compared; the rest follow in their order.
        Time grows with it.
    layer : str, optional
        Whose map is read. Default: of the layers with a stride of 16 px, the one with most
        channels, and of these the deepest.
    side_px : int, default 448
        Images are stretched to a square of this side, in pixels. Reading takes time with its
        square, comparing with its fourth power.
    n_components : int, default 256
        Length of a local feature, at most the layer's channels.
    power : float, default 0.5
        Of the whitening of local features: 1 is full, 0 none.
    tolerance : float, default 0.06
        How far from its place under the common transform a feature may lie, as a share of the
        side.
    n_fit_images : int, default 100
        Images that the whitening is learned from, at most.
    n_recent : int, default 500
        Images whose local features are kept in memory: 0.8 MB each at the defaults.
    backbone : Backbone, optional
        From `featx.load_backbone`. Default: the network of the index's recipe.
    random_state : int, default 0
        Of the choice of images and positions for the whitening.
    reader : LocalReader, optional
        What `fit` learned. Default: the whitening is learned from the index's images, at its first
        query.

    Raises
    ------
    ParameterError
        If a number is out of range.

    Notes
    -----
    As Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR
    2007, with a map's positions as local features: unit length, PCA with half whitening, mutual
    nearest neighbours, RANSAC. Distances returned are 1 / (1 + s), where s is the sum of the
    cosines of the pairs that agree: from 0 to 1, and 1 where nothing agrees; above 1 for the rest.
    `Matches.inliers` has the number of these pairs. A candidate that cannot be read is named in a
    warning, stands at distance 1 and has -1 inliers. The first query reads every candidate; an
    image that was read lately is not read again unless it changed. Results are the same at every
    call.

    Examples
    --------
    >>> SpatialVerification(n_candidates=20)
    SpatialVerification(n_candidates=20, layer=None, side_px=448, n_components=256, power=0.5, ...)
    """

    n_candidates: int = 100
    layer: str | None = None
    side_px: int = 448
    n_components: int = 256
    power: float = 0.5
    tolerance: float = 0.06
    n_fit_images: int = 100
    n_recent: int = 500
    backbone: Any = None
    random_state: int = 0
    reader: LocalReader | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("n_candidates", "n_components", "n_fit_images", "n_recent"):
            require_count(name, getattr(self, name))
        require_count("side_px", self.side_px, least=32)
        require_number("power", self.power, 0, np.inf)
        require_number("tolerance", self.tolerance, 0, 1)

    def fit(self, images: Any, *, backbone: Any = None) -> Self:
        """Learn the whitening of local features; this object stays as it is.

        Parameters
        ----------
        images : sequence of paths, or images in another form
            Of which `n_fit_images` are taken at random.
        backbone : Backbone, optional
            Default: the parameter.

        Returns
        -------
        SpatialVerification
            With a `reader`.

        Raises
        ------
        ImageDecodeError
            If none of the images can be read.
        ParameterError
            If no network is given.
        """
        from featx.images.inputs import as_sources

        network = backbone if self.backbone is None else self.backbone
        if network is None:
            raise ParameterError(
                "backbone: got none, expected the network to read local features with, from "
                "featx.load_backbone"
            )
        rng = np.random.default_rng(self.random_state)
        sources = as_sources(images)
        chosen = np.sort(rng.permutation(len(sources))[: self.n_fit_images])
        reader = learn_reader(self, network, [sources[i] for i in chosen], rng)
        return dataclasses.replace(self, reader=reader)

    def rank(self, given: RankingInput) -> Ranking:
        """Return the ranking with the first candidates in their new order."""
        images, network = _require_images(given), self._network(given)
        reader = self._reader(given, network)
        found = given.nearest(max(given.k, self.n_candidates))
        candidates = found.rows[:, : self.n_candidates]
        agreements = [
            self._compare(reader, network, image, given.ids[rows].tolist())
            for image, rows in zip(images, candidates, strict=True)
        ]
        shape = candidates.shape
        scores = np.array([[a.score for a in row] for row in agreements]).reshape(shape)
        inliers: Rows = np.array([[a.inliers for a in row] for row in agreements], np.intp)
        distances = (1 / (1 + scores)).astype(np.float32)
        return reorder(found, distances, inliers.reshape(shape)).first(given.k)

    def _network(self, given: RankingInput) -> Any:
        if self.backbone is not None:
            return self.backbone
        if given.backbone is None:
            raise ParameterError(
                "rerank 'spatial': the features of this index were made outside featx, so that no "
                "network is known; expected one, as "
                "SpatialVerification(backbone=load_backbone(...))"
            )
        return given.backbone()

    def _reader(self, given: RankingInput, network: Any) -> LocalReader:
        """Return what reads local features, learned from the index's images if it must be."""
        reader = self.reader or given.learned.get(self)
        if reader is None:
            reader = self.fit(given.ids.tolist(), backbone=network).reader
            given.learned.clear()  # one at a time: each keeps many images
            given.learned[self] = reader
        assert isinstance(reader, LocalReader)
        if reader.made_with != (network.name, network.weights):
            name, weights = reader.made_with
            raise FingerprintMismatchError(
                f"spatial verification: got the network {network.name!r} with weights "
                f"{network.weights[:10]}..., expected {name!r} with {weights[:10]}..., which its "
                "whitening was fitted with; use another SpatialVerification for this index"
            )
        return reader

    def _compare(
        self, reader: LocalReader, network: Any, image: Any, paths: Sequence[str]
    ) -> list[Agreement]:
        """Compare a query's image with candidates; warn of those that cannot be read."""
        (query,) = reader.read(network, [image])
        if isinstance(query, str):
            name = image if isinstance(image, str) else "an image in memory"
            raise ImageDecodeError(f"query {name!r}: {query}; give another image")
        others = reader.read(network, paths)
        bad = [(p, one) for p, one in zip(paths, others, strict=True) if isinstance(one, str)]
        if bad:
            warnings.warn(
                f"spatial verification: {len(bad)} of {len(paths)} candidates could not be read, "
                f"{bad[0][0]!r} among them ({bad[0][1]}), and stand below those that agree; put "
                "them back, or remove them from the index",
                UserWarning,
                stacklevel=7,
            )
        return [
            Agreement(0.0, -1)
            if isinstance(one, str)
            else match_features(query, one, self.tolerance)
            for one in others
        ]


def _require_images(given: RankingInput) -> tuple[Any, ...]:
    if given.images is None:
        raise ParameterError(
            "rerank 'spatial': got vectors as queries, expected images, whose local features are "
            "compared; give the images themselves, or beside the vectors with images=..."
        )
    if given.ids.dtype.kind != "U":
        raise ParameterError(
            f"rerank 'spatial': the index's ids are {given.ids.dtype}, expected paths of images; "
            "fit the index on a feature store, or with ids=paths"
        )
    return given.images

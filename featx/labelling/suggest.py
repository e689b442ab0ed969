"""Suggest which images to label next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx.errors import choose, require_count
from featx.labelling._answers import read_answers
from featx.labelling._guesses import Guesser
from featx.labelling._pool import Pool

if TYPE_CHECKING:
    from featx.store.reader import FeatureStore

__all__ = ["STRATEGIES", "Suggestion", "choose_rows", "describe", "suggest"]

STRATEGIES = ("auto", "typical", "uncertain", "random")
UNSURE = 0.5  # margin below which the reason speaks of the guess
ALIKE = np.exp(-1.0)  # likeness from which an image counts as one of a kind

Rows = NDArray[np.intp]


@dataclass(frozen=True, repr=False)
class Suggestion(OneLine):
    """An image that is worth a label.

    Parameters
    ----------
    row : int
        Its row in the store.
    path : str
    label : str or None
        What the labels so far let expect; None before there are two classes. Of attributes those
        that are likelier than not, joined by ``";"``.
    confidence : float or None
        Probability of `label`, in [0, 1]; None where the names of the classes say it, not labels.
    reason : str
        Why this image, in words.
    """

    row: int
    path: str
    label: str | None
    confidence: float | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict."""
        return dict(vars(self))


def suggest(
    store: FeatureStore,
    labels: Any = None,
    *,
    n: int = 24,
    strategy: str = "auto",
    random_state: int = 0,
) -> list[Suggestion]:
    """Return the images whose labels would help a classifier most.

    Parameters
    ----------
    store : FeatureStore
        The images; labels that the store itself has are not looked at.
    labels : path, data frame, mapping or sequence of str, optional
        The labels so far: a label file (``path,label``, or ``path`` and a 0/1 column for each
        attribute), or one label for each row of the store, "" where there is none. Default: none
        yet. Images in a label file without a label are not suggested again.
    n : int, default 24
        How many images. Label some, and ask again: each call takes the new labels into account.
    strategy : {"auto", "typical", "uncertain", "random"}, default "auto"
        "typical" images cover the collection, "uncertain" ones have the smallest margin between
        their two likeliest classes, "random" ones are the yardstick. "auto" goes from typical to
        uncertain as the classifier turns out to be right.
    random_state : int, default 0
        Draws samples of collections of more than 3,000 images, and "random".

    Returns
    -------
    list of Suggestion
        Best first. Near copies of labelled or suggested images come last.

    Raises
    ------
    ParameterError
        If the strategy is unknown, or `labels` fits no image of the store.

    Notes
    -----
    "auto" and "typical" maximise a weighted coverage (facility location): an image is worth the
    sum over all others of their weight times how much better it covers them than labelled ones do.
    "typical" weights them alike; it does what TypiClust (Hacohen et al., 2022) does, without
    clusters. "auto" weights an image by ``1 - t * sqrt(m)``, with m the margin that a probe gives
    it and t the lower bound of the leave-one-out accuracy of the labels' nearest neighbours: while
    the labels predict nothing, all images count alike, and a good probe leaves only the images
    that it cannot tell. Images that were found to be of none of the classes are one more class of
    that probe, and the probability of the others is a factor of the weight. A pool of 100,000
    images takes seconds and 72 MB besides its features.

    Examples
    --------
    >>> import numpy as np, tempfile, pathlib
    >>> from featx.store import write_features
    >>> X = np.repeat(np.eye(3), 4, axis=0) + np.linspace(0, 0.3, 36).reshape(12, 3)
    >>> paths = [f"{i}.jpg" for i in range(12)]
    >>> store = write_features(pathlib.Path(tempfile.mkdtemp()) / "f.h5", X, paths=paths)
    >>> sorted(s.row // 4 for s in suggest(store, n=3))
    [0, 1, 2]
    >>> labels = {"path": ["0.jpg", "4.jpg"], "label": ["cat", "dog"]}
    >>> suggest(store, labels, n=1)[0].row // 4
    2
    """
    choose("strategy", strategy, STRATEGIES)
    require_count("n", n)
    answers = read_answers(store, labels)
    pool = Pool(store, random_state)
    guesser = answers.fit(pool.X)
    rows = choose_rows(pool, answers.taken, guesser, n, strategy, random_state)
    return describe(pool, store.paths.tolist(), rows, guesser, strategy)


def choose_rows(
    pool: Pool, taken: Rows, guesser: Guesser | None, n: int, strategy: str, random_state: int
) -> Rows:
    """Return the rows to label next, best first."""
    if strategy == "random":
        order = np.random.default_rng([random_state, len(taken)]).permutation(len(pool))
        return order[~np.isin(order, taken)][:n].astype(np.intp)
    if strategy == "uncertain" and guesser is not None:
        free = np.setdiff1d(np.arange(len(pool)), taken)
        order = np.argsort(guesser.guess(free).margin, kind="stable")
        return pool.drop_copies(free[order], n)
    if strategy == "auto" and guesser is not None:
        return pool.choose(n, taken, guesser.doubt(pool.witnesses).astype(np.float32))
    return pool.choose(n, taken)


def describe(
    pool: Pool, paths: Sequence[str], rows: Rows, guesser: Guesser | None, strategy: str
) -> list[Suggestion]:
    """Put the guess and the reason for each row into words."""
    guesses = None if guesser is None or not len(rows) else guesser.guess(rows)
    found = []
    for k, (row, n) in enumerate(zip(rows.tolist(), _count_alike(pool, rows), strict=True)):
        label = confidence = None
        reason = f"typical of about {n} images" if n > 1 else "no other image is much like it"
        if guesses is not None:
            label, confidence = str(guesses.labels[k]), float(guesses.confidence[k])
            if strategy == "uncertain" or guesses.margin[k] < UNSURE:
                reason = f"hard to tell: {guesses.doubts[k]}"
        if strategy == "random":
            reason = "drawn at random"
        found.append(Suggestion(row, paths[row], label, confidence, reason))
    return found


def _count_alike(pool: Pool, rows: Rows) -> list[int]:
    """Estimate from the witnesses how many images of the pool are like each of some."""
    if not len(rows):
        return []
    share = (pool.likeness(rows) > ALIKE).mean(axis=1)
    return [max(round(float(s) * len(pool)), 1) for s in share]

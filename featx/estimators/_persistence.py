"""Keep a fitted model in a file that holds no code, and read it back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from featx._repr import OneLine
from featx._version import __version__
from featx.errors import FileFormatError, ParameterError, choose
from featx.estimators._codec import decode, encode
from featx.estimators.certainty import (
    FALSE_ALARMS,
    Answers,
    Certainty,
    answer,
    has_attributes,
    name_columns,
)
from featx.files.archive import pack, unpack
from featx.files.atomic import open_regular
from featx.files.formats import MODEL
from featx.files.outputs import write_output
from featx.recipe import Recipe

__all__ = ["SavedModel", "load_model", "save_model"]

IMAGES = "training_images"
CERTAINTY = "certainty."  # what the names of its arrays begin with


@dataclass(frozen=True, repr=False)
class SavedModel(OneLine):
    """A model as a file holds it.

    Parameters
    ----------
    model : estimator
        Fitted.
    recipe : Recipe or None
        What the features that it was fitted on were made with; None where that is not known.
        `featx.recipe.require_same_recipe` compares it with that of other features.
    metadata : dict
        Whatever was given to `save_model`.
    images : ndarray of shape (n_images,), uint64, or None
        The first 8 bytes of the digest of each image that it was fitted on; None where that is
        not known.
    certainty : Certainty or None
        What was learned of how far its answers can be trusted
        (`featx.estimators.certainty.learn_certainty`); None where it was not.
    """

    model: Any
    recipe: Recipe | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    images: NDArray[np.uint64] | None = field(default=None, repr=False, compare=False)
    certainty: Certainty | None = field(default=None, repr=False, compare=False)

    @property
    def has_attributes(self) -> bool:
        """Whether it gives several yes-or-no labels per image."""
        return has_attributes(self.model)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes or attributes, columns of the scores, as text."""
        return name_columns(self.model)

    def predict(
        self, X: Any, *, coverage: float | None = None, false_alarms: float = FALSE_ALARMS
    ) -> Answers:
        """Label vectors, and say how sure the labels are.

        Parameters
        ----------
        X : ndarray of shape (n, n_features), or FeatureStore
        coverage : float, optional
            Share of images whose set of labels is to hold the right one, in (0, 1). The sets are
            the smallest on average: they may hold several labels, and none where no class is
            probable enough. Of attributes, the share of images with an attribute whose set holds
            it.
        false_alarms : float, default 0.05
            Largest share of images like those trained on that may be called unknown. With fewer
            than 1 / `false_alarms` - 1 training images none is.

        Returns
        -------
        Answers

        Raises
        ------
        ParameterError
            If a share is out of range, or a coverage is asked for and the model was saved without
            `certainty`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.utils import shuffle
        >>> from featx.estimators import LinearProbeClassifier
        >>> from featx.estimators.certainty import learn_certainty
        >>> X, y = shuffle(*load_digits(return_X_y=True), random_state=0)
        >>> probe = LinearProbeClassifier().fit(X[:400], y[:400])
        >>> saved = SavedModel(probe, certainty=learn_certainty(probe, X[:400], y[:400]))
        >>> answers = saved.predict(X[400:], coverage=0.9)
        >>> holds_right = answers.sets[np.arange(len(X) - 400), y[400:]]
        >>> bool(0.87 < holds_right.mean() < 0.93)
        True
        """
        return answer(
            self.model, np.asarray(X), self.certainty, coverage=coverage, false_alarms=false_alarms
        )

    def count_seen(self, digests: Sequence[str] | NDArray[np.str_]) -> int | None:
        """Return how many images the model was fitted on; None where that is not known.

        Parameters
        ----------
        digests : sequence of str
            SHA-256 of images, as `FeatureStore.digests` gives them, "" where not known.

        Examples
        --------
        >>> saved = SavedModel(None, images=np.array([0xAB << 56], np.uint64))
        >>> saved.count_seen(["ab" + "0" * 62, "cd" + "0" * 62])
        1
        """
        found = _image_numbers(digests)
        if self.images is None or not len(found):
            return None
        return int(np.isin(found, self.images).sum())


def save_model(
    model: Any,
    path: str | Path,
    *,
    recipe: Recipe | None = None,
    metadata: dict[str, Any] | None = None,
    digests: Sequence[str] | NDArray[np.str_] | None = None,
    certainty: Certainty | None = None,
    format: str = "featx",
) -> None:
    """Write a fitted model to one file.

    The file is written beside and renamed: a crash leaves the old one.

    Parameters
    ----------
    model : estimator
        `LinearProbeClassifier`, `AttributeClassifier`, `PCAWhitening`, `PowerNormalizer`,
        scikit-learn's `Normalizer` or `StandardScaler`, or a `Pipeline` of these.
    path : str or Path
    recipe : Recipe or None, default None
        Of the features that it was fitted on.
    metadata : dict or None, default None
        JSON-serialisable notes, for example scores.
    digests : sequence of str, optional
        SHA-256 of each image that it was fitted on, as ``store.digests[rows]``, "" where not
        known: so that an evaluation can say how many of its images the model has seen. Takes 8
        bytes per image.
    certainty : Certainty or None, default None
        What was learned of how far its answers can be trusted. Takes 2 bytes per feature of at
        most 2048 training images, 8 MiB at most, and 16 per training image.
    format : {"featx", "joblib"}, default "featx"
        "featx" is a zip of JSON and arrays that any zip tool opens; its layout is in
        docs/decisions/models-without-pickle.md. "joblib" keeps any estimator, by pickle: whoever
        can change the file can run code on the machine that loads it, and another version of
        scikit-learn may not read it.

    Raises
    ------
    ParameterError
        For an estimator that "featx" does not know, or metadata that JSON cannot hold.
    sklearn.exceptions.NotFittedError
        For a model that was not fitted.
    StoreWriteError
        Where the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [0.1, 1.0], [1.0, 0.2]], ["cat", "dog", "cat", "dog"]
    >>> from featx.estimators import LinearProbeClassifier
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(LinearProbeClassifier().fit(X, y), f"{folder}/pets.featx")
    ...     load_model(f"{folder}/pets.featx").model.predict([[0.0, 2.0]])
    array(['cat'], dtype='<U3')
    """
    choose("format", format, ("featx", "joblib"))
    check_is_fitted(model)
    images = _image_numbers(() if digests is None else digests)
    header = {
        "format": MODEL.name,
        "version": MODEL.versions[-1],
        "creator": f"featx {__version__}",
        "recipe": None if recipe is None else recipe.to_dict(),
        "metadata": metadata or {},
    }
    arrays: dict[str, Any] = {IMAGES: images} if len(images) else {}
    learned = {} if certainty is None else certainty.to_arrays()
    arrays |= {f"{CERTAINTY}{name}": array for name, array in learned.items()}
    if format == "joblib":
        with write_output(path, MODEL.kind) as beside:
            joblib.dump({**header, "model": model, IMAGES: images, **arrays}, beside)
        return
    header["model"] = encode(model, arrays)
    try:
        data = pack(header, arrays)
    except (TypeError, ValueError) as err:
        raise ParameterError(
            f"metadata: {err}; expected what JSON holds: numbers, text, lists and dicts"
        ) from err
    with write_output(path, MODEL.kind) as beside:
        beside.write_bytes(data)


def load_model(path: str | Path, *, trust_pickle: bool = False) -> SavedModel:
    """Read a model that `save_model` wrote.

    Parameters
    ----------
    path : str or Path
    trust_pickle : bool, default False
        Also read files of format "joblib". That runs whatever code the file holds: only for files
        that you or someone you trust made, and that nobody else could change.

    Returns
    -------
    SavedModel

    Raises
    ------
    FileFormatError
        Naming the path, for a file that is damaged, foreign, of another version, or that holds
        pickles while `trust_pickle` is False. Nothing in the file has been run then. Where there
        is no file, it is a `FileNotFoundError`, too, and an `OSError` where it cannot be read.
    """
    with MODEL.opening(path), open_regular(path) as file:
        data = file.read()
    if data[:2] != b"PK" and not trust_pickle:
        raise _foreign(path, data)
    try:
        header, arrays = unpack(data) if data[:2] == b"PK" else _load_joblib(data)
    except FileFormatError as err:
        raise MODEL.damaged(path, str(err)) from err
    MODEL.require(path, header.get("format"), header.get("version"))
    try:
        model = decode(header.get("model"), arrays) if data[:2] == b"PK" else header["model"]
        return _build_saved(header, model, arrays)
    except FileFormatError as err:
        raise MODEL.damaged(path, str(err)) from err


def _foreign(path: str | Path, data: bytes) -> FileFormatError:
    hint = "expected a file of featx train (save_model)"
    if data.startswith(b"\x89HDF"):
        found = "an HDF5 file, a store or an index"
    elif data[:1] in (b"\x80", b"x"):  # plain or compressed
        found = "a pickle"
        hint += (
            "; if it was saved with format='joblib' and you trust its origin, read it in Python "
            "with load_model(path, trust_pickle=True)"
        )
    else:
        found = "no featx model: it does not begin as a zip file"
    return FileFormatError(f"{MODEL.describe(path)}: is {found}, {hint}")


def _load_joblib(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header = joblib.load(io.BytesIO(data))
    except Exception as err:
        raise FileFormatError(f"not readable by joblib: {type(err).__name__}: {err}") from err
    if not isinstance(header, dict) or "model" not in header:
        raise FileFormatError(f"got a pickled {type(header).__name__}, expected a featx model")
    return header, header


def _build_saved(header: dict[str, Any], model: Any, arrays: dict[str, Any]) -> SavedModel:
    images = arrays.get(IMAGES)
    recipe, metadata = header.get("recipe"), header.get("metadata")
    if images is not None and (images.ndim != 1 or images.dtype != np.uint64):
        raise FileFormatError(f"{IMAGES}: got {images.dtype} of shape {images.shape}")
    if not isinstance(metadata, dict) or not isinstance(recipe, dict | None):
        raise FileFormatError("recipe and metadata are not objects")
    recipe = None if recipe is None else Recipe.from_dict(recipe)
    learned = {
        name.removeprefix(CERTAINTY): array
        for name, array in arrays.items()
        if name.startswith(CERTAINTY)
    }
    return SavedModel(
        model,
        recipe,
        metadata,
        None if images is None or not len(images) else images,
        Certainty.from_arrays(learned, model) if learned else None,
    )


def _image_numbers(digests: Any) -> NDArray[np.uint64]:
    """Return the first 8 bytes of each digest that is known."""
    try:
        return np.array([int(str(d)[:16], 16) for d in digests if d], np.uint64)
    except ValueError as err:
        raise ParameterError(f"digests: {err}; expected hexadecimal digits of SHA-256") from err

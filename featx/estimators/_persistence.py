"""Keep a fitted model in a file that holds no code, and read it back."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

import joblib
from sklearn.utils.validation import check_is_fitted

from featx._files import open_regular
from featx.errors import FileFormatError, ParameterError
from featx.estimators._codec import decode, encode
from featx.estimators._container import pack, unpack, write_beside
from featx.estimators._validation import choose
from featx.recipe import Recipe

__all__ = ["SavedModel", "load_model", "save_model"]

FORMAT = "featx-model"
VERSION = 1


@dataclass(frozen=True)
class SavedModel:
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
    """

    model: Any
    recipe: Recipe | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def save_model(
    model: Any,
    path: str | Path,
    *,
    recipe: Recipe | None = None,
    metadata: dict[str, Any] | None = None,
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
    header = {
        "format": FORMAT,
        "version": VERSION,
        "creator": f"featx {package_metadata.version('featx')}",
        "recipe": None if recipe is None else recipe.to_dict(),
        "metadata": metadata or {},
    }
    if format == "joblib":
        buffer = io.BytesIO()
        joblib.dump({**header, "model": model}, buffer)
        write_beside(Path(path), buffer.getvalue())
        return
    arrays: dict[str, Any] = {}
    header["model"] = encode(model, arrays)
    try:
        data = pack(header, arrays)
    except (TypeError, ValueError) as err:
        raise ParameterError(
            f"metadata: {err}; expected what JSON holds: numbers, text, lists and dicts"
        ) from err
    write_beside(Path(path), data)


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
        pickles while `trust_pickle` is False. Nothing in the file has been run then.
    OSError
        Where the file cannot be read at all.
    """
    with open_regular(path) as file:
        data = file.read()
    try:
        if data[:2] == b"PK" or not trust_pickle:
            header, arrays = unpack(data)
            _check_version(header)
            model = decode(header.get("model"), arrays)
        else:
            header = _load_joblib(data)
            model = header["model"]
        return _saved(header, model)
    except FileFormatError as err:
        if data.startswith(b"\x89HDF"):
            raise FileFormatError(
                f"model file {path}: is an HDF5 file, a store or an index; expected a file of "
                "featx train (save_model)"
            ) from err
        hint = (
            ""
            if data[:2] == b"PK"
            else "; if it was saved with format='joblib' and you trust its origin, pass "
            "trust_pickle=True"
        )
        raise FileFormatError(
            f"model file {path}: {err}{hint or '; save the model again or restore the file'}"
        ) from err


def _check_version(header: dict[str, Any]) -> None:
    if header.get("format") != FORMAT:
        raise FileFormatError(f"got format {header.get('format')!r:.60}, expected {FORMAT!r}")
    if header.get("version") != VERSION:
        raise FileFormatError(
            f"got version {header.get('version')!r:.60}, expected {VERSION}; it was written by "
            f"{header.get('creator')!r:.60}: upgrade with pip install -U featx"
        )


def _load_joblib(data: bytes) -> dict[str, Any]:
    try:
        header = joblib.load(io.BytesIO(data))
    except Exception as err:
        raise FileFormatError(f"not readable by joblib: {type(err).__name__}: {err}") from err
    if not isinstance(header, dict) or "model" not in header:
        raise FileFormatError(f"got a pickled {type(header).__name__}, expected a featx model")
    _check_version(header)
    return header


def _saved(header: dict[str, Any], model: Any) -> SavedModel:
    recipe, metadata = header.get("recipe"), header.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(recipe, dict | None):
        raise FileFormatError("recipe and metadata are not objects")
    return SavedModel(model, None if recipe is None else Recipe.from_dict(recipe), metadata)

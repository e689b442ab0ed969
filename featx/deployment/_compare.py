"""What an exported file answers, beside what featx answers for the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx.deployment._onnx import Session
from featx.deployment._openvino import OpenVINOSession
from featx.estimators import SavedModel
from featx.extraction import LoadedEncoder
from featx.images.inputs import decode_source
from featx.images.loader import ImageBatch

__all__ = ["Comparison", "compare", "predict", "weigh"]

Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Comparison:
    """How far a file's answers are from featx's.

    Parameters
    ----------
    n_samples : int
        Images that both have answered for.
    n_failed : int
        Images that could not be read.
    max_difference : float
        Largest difference of a probability; of an encoder that of an element of a feature, as a
        share of the largest.
    n_same : int or None
        Images with the same label, or all the same attributes; None for an encoder.
    mean_cosine, worst_cosine : float
        Between the features of both.
    """

    n_samples: int
    n_failed: int
    max_difference: float
    n_same: int | None
    mean_cosine: float
    worst_cosine: float


def compare(
    session: Session | OpenVINOSession,
    loaded: LoadedEncoder,
    saved: SavedModel | None,
    sources: Sequence[Any],
) -> Comparison:
    """Give decoded images to a file, and the same images to featx.

    Parameters
    ----------
    session : Session or OpenVINOSession
        The file.
    loaded, saved
        What featx answers with.
    sources : sequence
        As `featx.images.inputs.as_sources` gives them.
    """
    reader = loaded.preprocessor()
    differences, same, cosines, n_failed = [0.0], [0], [np.empty(0)], 0
    with Progress(len(sources), "compare") as bar:
        for batch, found in _answer(loaded, saved, sources):
            for row, place in enumerate(batch.good.tolist()):
                picture = decode_source(sources[place], reader.min_px, reader.max_pixels)
                ours = session.run(np.asarray(picture)[None])
                expected = {name: x[row : row + 1] for name, x in found.items()}
                differences.append(weigh(ours, expected))
                cosines.append(_cosine(ours["features"], expected["features"]))
                if saved is not None:
                    same.append(int(np.array_equal(ours["label"], expected["label"])))
            n_failed += len(batch.rows) - len(batch.good)
            bar.advance(len(batch.rows))
    all_cosines = np.concatenate(cosines)
    return Comparison(
        n_samples=len(all_cosines),
        n_failed=n_failed,
        max_difference=max(differences),
        n_same=None if saved is None else sum(same),
        mean_cosine=float(all_cosines.mean()) if len(all_cosines) else 0.0,
        worst_cosine=float(all_cosines.min(initial=1.0)),
    )


def predict(saved: SavedModel, features: NDArray[np.float32]) -> Outputs:
    """Return a model's answers by the names of a file's outputs."""
    answers = saved.predict(features)
    labels: Any = answers.labels
    if not saved.has_attributes:
        number = {name: i for i, name in enumerate(saved.classes)}
        labels = np.array([number[str(label)] for label in labels], np.int64)
    found = {"label": labels, "confidence": answers.confidence, "scores": answers.scores}
    if answers.unknown is not None:
        found |= {"unknown": answers.unknown, "is_unknown": answers.is_unknown}
    return found


def weigh(ours: Outputs, expected: Outputs) -> float:
    """Return the largest difference of scores; without any that of features, as a share."""
    if "scores" in expected:
        return float(np.abs(ours["scores"] - expected["scores"]).max(initial=0.0))
    a, b = ours["features"], expected["features"]
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-30))


def _answer(
    loaded: LoadedEncoder, saved: SavedModel | None, sources: Sequence[Any]
) -> Iterator[tuple[ImageBatch, Outputs]]:
    """Yield batches with featx's features and answers."""
    for batch, (features,) in loaded.embed(sources, engine="torch"):
        answers = {} if saved is None or not len(features) else predict(saved, features)
        yield batch, {"features": features, **answers}


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(axis=1) / np.where(lengths, lengths, 1))

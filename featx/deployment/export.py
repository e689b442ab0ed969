"""`export_model`: read what to export, convert its three parts, compare with featx, write."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx._repr import FieldTable
from featx._version import __version__
from featx.deployment import _compare
from featx.deployment._answer import Answer
from featx.deployment._compare import Comparison
from featx.deployment._onnx import Session, describe, join, quantise
from featx.deployment._openvino import OpenVINOSession, check_pair, write_pair
from featx.deployment._page import render_page
from featx.deployment._pixels import make_pixels
from featx.deployment._runtime import find_runtime
from featx.engines.conversion import to_onnx
from featx.errors import BackboneError, ParameterError, choose
from featx.estimators import SavedModel, load_model
from featx.extraction import Encoder, LoadedEncoder, RunOptions
from featx.extraction.embed import load_by_recipe
from featx.files.outputs import check_output, write_output
from featx.images import ImageManifest, sample_data_dir
from featx.images.augmentation import Augmentation
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.images.inputs import decode_source
from featx.images.loader import iter_batches

__all__ = ["TOLERANCE", "Exported", "export_model"]

PRECISIONS = ("float32", "int8")
# Of a probability, or of the largest element of a feature, for the same pixels in float32.
TOLERANCE = 1e-4
EVERY_SAMPLE, N_STRICT, N_SELF_TESTS, SELF_TEST_PX = 12, 32, 3, 192
RUN = RunOptions(device="cpu", engine="torch")
Runner = type[Session] | type[OpenVINOSession]
"""What answers by a model of ONNX, given its bytes."""


@dataclass(frozen=True, repr=False)
class Exported(FieldTable):
    """A file that was written, and how near it is to featx.

    Parameters
    ----------
    out : str
    outputs : tuple of str
        What the file answers with.
    classes : tuple of str
        Columns of its scores; none for an encoder.
    n_bytes : int
    max_difference : float
        Largest difference to featx in float32 where both are given the same resized pixels, of 32
        of the package's sample images.
    whole : Comparison
        With featx in float32, from decoded images on.
    as_trained : Comparison or None
        With featx in the precision of the recipe, where that is another.
    """

    out: str
    outputs: tuple[str, ...]
    classes: tuple[str, ...]
    n_bytes: int
    max_difference: float
    whole: Comparison
    as_trained: Comparison | None = None


def export_model(
    what: str | os.PathLike[str] | Encoder,
    out: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    check: Any = None,
    precision: str = "float32",
    html: str | os.PathLike[str] | None = None,
    onnxruntime_web: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write a trained model, or an encoder alone, as one file that runs without featx.

    Parameters
    ----------
    what : path or Encoder
        A model of `featx.save_model`; or what makes features.
    out : path
        Ends in ``.onnx``; or in ``.xml`` for OpenVINO, which has a file of numbers beside it, of
        the same name with ``.bin``.
    weights : path, optional
        Weights of the model's network, where they are no longer where they were.
    check : source, optional
        Images to compare the file with featx on, as `ImageManifest.from_source` takes them.
        Default: 36 of the package's sample images.
    precision : {"float32", "int8"}, default "float32"
        What the network computes in. int8 is calibrated with the package's sample images, and its
        loss is in the result.
    html : path, optional
        Also write a page that runs the model in a browser, with all that it needs inside; beside
        an ``.onnx`` alone.
    onnxruntime_web : path, optional
        Folder of the npm package of this name for the page. Default: fetched once from npm's
        registry, 31 MB, and kept beside torch hub's weights.

    Returns
    -------
    Exported

    Raises
    ------
    ParameterError
        If the model, or how its images are prepared, has no counterpart in ONNX; or a page is
        asked for of an encoder, which has no answer to show.
    BackboneError
        If the network has an operator that does not export, or the file gives other answers than
        featx.
    MissingDependencyError
        If onnx or what runs the file is not installed, or onnxruntime-web cannot be fetched.
    StoreWriteError
        If the file cannot be written; nothing is left of it then.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = export_model(Encoder("featx_base"), f"{folder}/enc.onnx")
    >>> done.outputs, done.max_difference < 1e-4
    (('features',), True)
    """
    choose("precision", precision, PRECISIONS)
    inputs = [] if isinstance(what, Encoder) else [what]
    is_pair = Path(out).suffix.lower() == ".xml"
    run_file: Runner = OpenVINOSession if is_pair else Session
    _ = check_pair(out) if is_pair else check_output(out, "onnx", inputs=inputs)
    runtime = None if html is None else _prepare_page(what, out, html, onnxruntime_web, inputs)
    loaded, saved = _load(what, weights)
    thing = f"backbone {loaded.backbone.name!r}"
    sources = _samples() if check is None else ImageManifest.from_source(check).paths
    views = _views(loaded, _samples())
    pixels, network, answer = _convert(loaded, saved, views, thing)
    after = network if answer is None else join(network, answer, through="features", keep=True)
    max_difference = _require_same(after, run_file, loaded, saved, views, thing)
    if precision == "int8":
        small = quantise(network, [view[None] for view in views])
        after = small if answer is None else join(small, answer, through="features", keep=True)
    model = join(pixels, after, through="view")
    metadata = _metadata(loaded, saved, precision)
    session = run_file(describe(model, metadata))
    whole = _compare.compare(session, loaded, saved, sources)
    if not whole.n_samples:
        raise ParameterError(
            f"check: got {whole.n_failed} images, none of which can be read, expected images to "
            "compare the file with featx on"
        )
    metadata |= {"max_difference": whole.max_difference, "self_test": _self_test(session)}
    data = describe(model, metadata)
    n_bytes = len(data)
    if is_pair:
        n_bytes = write_pair(data, out)
    else:
        with write_output(out, "onnx", inputs=inputs) as beside:
            beside.write_bytes(data)
    if html is not None and runtime is not None:
        page = render_page(Path(out).stem, data, metadata, runtime)
        with write_output(html, "page", inputs=inputs) as beside:
            beside.write_text(page, "utf-8")
    return Exported(
        out=os.fspath(out),
        outputs=session.outputs,
        classes=() if saved is None else saved.classes,
        n_bytes=n_bytes,
        max_difference=max_difference,
        whole=whole,
        as_trained=_compare_as_trained(session, what, weights, sources),
    )


def _prepare_page(
    what: Any, out: Any, html: str | os.PathLike[str], folder: Any, inputs: Sequence[Any]
) -> tuple[bytes, bytes]:
    """Return what runs a model in a browser, before the work.

    Raises
    ------
    ParameterError
        If there is no model, or it is written for OpenVINO, which runs in no browser.
    """
    if Path(out).suffix.lower() == ".xml":
        raise ParameterError(
            f"html: got {os.fspath(html)!r} beside {os.fspath(out)!r}, which no browser runs, "
            "expected a page beside a file that ends in .onnx"
        )
    if isinstance(what, Encoder):
        raise ParameterError(
            f"html: got {os.fspath(html)!r} for a network alone, which has no answer "
            "to show, expected a model of featx train"
        )
    check_output(html, "page", inputs=inputs)
    return find_runtime(folder)


def _load(what: Any, weights: Any) -> tuple[LoadedEncoder, SavedModel | None]:
    """Return the network in float32, and the model where there is one."""
    saved = None
    if isinstance(what, Encoder):
        encoder = dataclasses.replace(what, precision="float32", recipe=None)
        loaded = encoder.load(RUN)
    else:
        saved = load_model(what)
        loaded = _load_network(what, saved, "float32", weights)
    if len(loaded.specs) != 1:
        raise ParameterError(
            f"layers, poolings: got {len(loaded.specs)} of them, expected one for one file"
        )
    kind = Augmentation.parse(loaded.recipes[0].augment).kind
    if kind not in ("none", "hflip") or loaded.backbone.transform is not None:
        found = "a transform of your own" if loaded.backbone.transform else repr(kind)
        raise ParameterError(
            f"augment: got {found}, expected 'none' or 'hflip', the views that an exported file "
            "takes; extract and train with one of them"
        )
    return loaded, saved


def _load_network(what: Any, saved: SavedModel, precision: str, weights: Any) -> LoadedEncoder:
    recipe = saved.recipe and dataclasses.replace(saved.recipe, precision=precision)
    made_with = saved.metadata.get("made_with", {})
    return load_by_recipe(
        recipe, made_with, RUN, weights=weights, thing=f"model {os.fspath(what)!r}"
    )


def _compare_as_trained(
    session: Session | OpenVINOSession, what: Any, weights: Any, sources: Sequence[Any]
) -> Comparison | None:
    """Compare with the network in the precision that the model was trained in."""
    if isinstance(what, Encoder):
        return None
    saved = load_model(what)
    if saved.recipe is None or saved.recipe.precision == "float32":
        return None
    precision = saved.recipe.precision
    if precision.startswith("int8"):  # a graph of OpenVINO's, which has another loss
        return None
    loaded = _load_network(what, saved, precision, weights)
    return _compare.compare(session, loaded, saved, sources)


class _Mirrored(nn.Module):
    """A view and its mirror image to one vector."""

    def __init__(self, one: nn.Module, *, keeps_views: bool) -> None:
        super().__init__()
        self.one, self.keeps_views = one, keeps_views

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        """Return (n, n_features) of views (n, side, side, 3)."""
        found, mirrored = self.one(view), self.one(view.flip(2))
        return torch.cat([found, mirrored], 1) if self.keeps_views else (found + mirrored) / 2


def _convert(
    loaded: LoadedEncoder, saved: SavedModel | None, views: NDArray[np.uint8], thing: str
) -> tuple[Any, Any, Any]:
    """Return the parts: pixels to view, view to features, features to answers or None."""
    pixels = make_pixels(loaded.recipes[0].preprocessing)
    spec, augment = loaded.specs[0], Augmentation.parse(loaded.recipes[0].augment)
    module = loaded.backbone.as_module(spec.layer, spec.pooling)
    if augment.kind == "hflip":
        module = _Mirrored(module, keeps_views=augment.keeps_views)
    few = torch.from_numpy(views[:2])
    network = to_onnx(module, few, ("view", ["features"]), thing=thing)
    if saved is None:
        return pixels, network, None
    answer = Answer(saved)
    rows = torch.rand(2, loaded.recipes[0].n_features)
    return pixels, network, to_onnx(answer, rows, ("features", answer.outputs), thing=thing)


def _require_same(
    after: Any,
    run_file: Runner,
    loaded: LoadedEncoder,
    saved: SavedModel | None,
    views: NDArray[np.uint8],
    thing: str,
) -> float:
    """Return the largest difference to featx for the same views.

    Raises
    ------
    BackboneError
        If it is larger than `TOLERANCE`.
    """
    views = views[:N_STRICT]
    found = run_file(after.SerializeToString()).run(views)
    has_mirror = loaded.preprocessor().n_views > 1
    features = loaded.embed_views([(v, v[:, ::-1].copy())[: 1 + has_mirror] for v in views])
    expected = {"features": features}
    largest = _compare.weigh({"features": found["features"]}, expected)
    if saved is not None:
        largest = max(largest, _compare.weigh(found, _compare.predict(saved, features)))
    if not largest <= TOLERANCE:
        raise BackboneError(
            f"{thing}: the exported file differs by {largest:.2g} from featx on sample images, "
            f"expected at most {TOLERANCE:g}; nothing was written: read an earlier layer "
            "(--layer), or run it by featx serve"
        )
    return largest


def _samples() -> list[str]:
    return list(ImageManifest.from_source(sample_data_dir()).paths[::EVERY_SAMPLE])


def _views(loaded: LoadedEncoder, paths: Sequence[str]) -> NDArray[np.uint8]:
    """Return images as the network takes them, without their mirror images."""
    batches = iter_batches(paths, loaded.preprocessor(), batch_size=len(paths), workers=0)
    return next(batches).views[0]


def _metadata(loaded: LoadedEncoder, saved: SavedModel | None, precision: str) -> dict[str, Any]:
    """Return what the file says of itself."""
    kind = "encoder" if saved is None else "attributes" if saved.has_attributes else "classifier"
    recipe = loaded.recipes[0] if saved is None else saved.recipe
    assert recipe is not None
    return {
        "featx": __version__,
        "kind": kind,
        "classes": [] if saved is None else list(saved.classes),
        "recipe": recipe.to_dict(),
        "fingerprint": recipe.fingerprint,
        "precision": precision,
        "min_px": loaded.preprocessor().min_px,
        "weights_license": loaded.backbone.license or "",
    }


def _self_test(session: Session | OpenVINOSession) -> list[dict[str, Any]]:
    """Return a few pictures, lossless, and what the file answers for them."""
    tests = []
    paths = _samples()
    for path in paths[:: len(paths) // N_SELF_TESTS][:N_SELF_TESTS]:
        picture = decode_source(path, None, RUN.max_pixels or DEFAULT_MAX_PIXELS)
        picture.thumbnail((SELF_TEST_PX, SELF_TEST_PX))
        file = io.BytesIO()
        picture.save(file, "PNG")
        found = session.run(np.asarray(picture)[None])
        kept = {k: v[0].tolist() for k, v in found.items() if k != "features" or len(found) == 1}
        tests.append({"png": base64.b64encode(file.getvalue()).decode(), **kept})
    return tests

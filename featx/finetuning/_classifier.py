"""`FineTuneClassifier`: a network whose later layers are trained, as a scikit-learn classifier."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from featx._repr import OneLine
from featx._values import require_known
from featx.errors import ParameterError, choose, require_count, require_number
from featx.finetuning._views import AUGMENTS

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FineTuneClassifier"]

HEADS = ("auto", "probe", "random")
DEFAULT_BATCH_SIZE = 32
DEFAULT_CACHE_BYTES = 2**30
DEFAULT_DISK_BYTES = 2**33
LARGEST_SEED = 2**31 - 1


class FineTuneClassifier(OneLine, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify images by a network whose later layers are trained on them.

    For the case where a linear probe on frozen features does not suffice. It costs 10 to 100
    times as long as the probe, and on few images often gains nothing: epoch 0 is the probe, and
    its weights are kept where no later epoch is better on the held-out images.

    Parameters
    ----------
    backbone : str or nn.Module, default "featx_base"
        As for `featx.FeatureExtractor`.
    weights : str, path or None, default "default"
        As for `featx.FeatureExtractor`. None trains random weights: the baseline from scratch,
        for which `train_from` is "all", the head is random, and batch norm is trained too.
    train_from : str, optional
        Name of the first layer that is trained, as in ``featx.load_backbone(...).layers``, such
        as "layer4" of a resnet18 or "blocks.10" of a transformer; all that is computed after it
        is trained too. An earlier one costs time and memory, and overfits sooner. "auto": the last
        stage, the last two and three are tried, or the last 1, 2, 4 and 8 blocks, never more than
        two thirds of the weight layers; the held-out images choose among them and the probe, which
        takes as long as all of them together. "all": every layer. Default: the earliest layer
        from which on lies at most a third of the weight layers.
    head : {"auto", "probe", "random"}, default "auto"
        Where the linear classifier on top starts: from `featx.LinearProbeClassifier` on the
        frozen features, or from random weights, which learn at 10 times the rate. Auto is
        "probe", and "random" for random weights.
    augment : {"crop-hflip", "hflip", "none"}, default "crop-hflip"
        Training views: random rectangles of 35 to 100 % of the area, mirrored or not; the
        extraction's view and its mirror image; the extraction's view alone. Prediction takes the
        extraction's view.
    n_views : int, default 8
        Random views per image, for "crop-hflip". They are the same in every epoch, so that the
        frozen part sees each once. Memory and time grow with it.
    epochs : int, default 15
        Most epochs; each goes through all views of all images. Time grows with it, and the
        learning rate falls more slowly.
    learning_rate : float, optional
        Peak of AdamW's. Default 1e-4; from scratch 1e-3.
    weight_decay : float, default 0.01
        AdamW's, on kernels and matrices.
    label_smoothing : float, default 0
        Share of the target that is spread over all classes; up to 0.99. It works against a head
        that starts from a probe, whose scores are far apart already.
    batch_size : int, default 32
        Images per step.
    validation_fraction : float, default 0.2
        Share of each class that is held out to choose the epoch. 0 trains on all and keeps the
        last epoch.
    patience : int, default 5
        Epochs without a better one after which training stops.
    resize_px, crop_px : int, optional
        As for `featx.FeatureExtractor`.
    device : str, default "auto"
        As for `featx.FeatureExtractor`.
    workers : int, optional
        As for `featx.FeatureExtractor`.
    max_cache_bytes : int, default 2**30
        Most memory for the activations before `train_from` (or the pixels, where nothing comes
        before it); "auto" needs up to twice that while it goes on to the next depth.
    max_disk_bytes : int, default 2**33
        Where they need more memory than that, most space for them on disk, in the folder for
        temporary files (TMPDIR). Where they need more than both, images are read and the frozen
        part is run anew in every epoch, and a warning says so; the result is the same.
    random_state : int, RandomState or None, default 0
        Views, order, held-out images, head and dropout. The same on one CPU gives the same
        weights to the last bit.
    progress : bool, optional
        As for `featx.FeatureExtractor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    history_ : tuple of Epoch
        ``epoch``, ``train_loss``, ``val_loss``, ``val_accuracy`` and ``seconds``; the first is
        the network before training.
    best_epoch_ : int
        The one whose weights are kept: the most accurate on the held-out images, of equals that
        of the lowest loss, of equals the first. 0: the backbone is the original.
    kept_ : {"fine-tuned", "probe"}
        What did better on the held-out images. "probe": the network is the original.
    depths_ : tuple of Depth
        What was tried: the probe, then each depth, the shallowest first, with ``train_from`` (None
        for the probe), ``n_trained_parameters``, ``epochs``, ``best_epoch``, ``val_accuracy``,
        ``val_loss`` and ``seconds``.
    train_from_ : str or None
        First layer that is trained; None where "auto" kept the probe.
    n_trained_parameters_ : int
        Of the backbone; those of the linear classifier are not counted.
    n_frozen_passes_ : int
        Images, views counted singly, for which everything before `train_from_` was run. While the
        activations are kept that is once per view, whatever the number of epochs and depths. 0
        where nothing comes before it or the network cannot be cut.
    strategy_ : {"activations", "pixels", "recomputed"}
        What is kept: the activations before `train_from_`, the pixels (nothing is
        computed before it, or the network cannot be cut), or neither.
    cache_ : {"memory", "disk", "none"}
        Where it is kept.
    uncut_ : str or None
        Why the network cannot be cut in two, so that each step runs all of it; None where it can.
    probe_ : LinearProbeClassifier or None
        On the frozen features of the images that are trained on; None for a random head.
    validation_rows_ : ndarray, intp
        Positions of the held-out images.
    network_ : nn.Module
        The tuned network.

    Notes
    -----
    LP-FT (Kumar et al. 2022, arXiv 2202.10054). Everything before `train_from` is frozen to the
    last bit. Batch norm keeps its running statistics in the trained part too, since those of a
    few images are worse than those of the network's own training set; its scale and offset are
    trained. Dropout is active in the trained part. The head keeps the probe's scaling of vectors
    to unit length. Computes in float32; on a GPU training steps run in bfloat16 autocast.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.integers(0, 128, (12, 48, 48, 3), dtype=np.uint8)
    >>> X[6:] += 100
    >>> y = ["dark"] * 6 + ["light"] * 6
    >>> clf = FineTuneClassifier(n_views=1, epochs=1, crop_px=48, resize_px=48).fit(X, y)
    >>> clf.train_from_, clf.strategy_, len(clf.history_)
    ('blocks.11', 'activations', 2)
    >>> clf.predict_proba(X).shape
    (12, 2)
    """

    def __init__(
        self,
        backbone: str | nn.Module = "featx_base",
        *,
        weights: str | os.PathLike[str] | None = "default",
        train_from: str | None = None,
        head: str = "auto",
        augment: str = "crop-hflip",
        n_views: int = 8,
        epochs: int = 15,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        label_smoothing: float = 0.0,
        batch_size: int = DEFAULT_BATCH_SIZE,
        validation_fraction: float = 0.2,
        patience: int = 5,
        resize_px: int | None = None,
        crop_px: int | None = None,
        device: str = "auto",
        workers: int | None = None,
        max_cache_bytes: int = DEFAULT_CACHE_BYTES,
        max_disk_bytes: int = DEFAULT_DISK_BYTES,
        random_state: Any = 0,
        progress: bool | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.train_from = train_from
        self.head = head
        self.augment = augment
        self.n_views = n_views
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.resize_px = resize_px
        self.crop_px = crop_px
        self.device = device
        self.workers = workers
        self.max_cache_bytes = max_cache_bytes
        self.max_disk_bytes = max_disk_bytes
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the probe, then train.

        Parameters
        ----------
        X : path, PIL.Image.Image, ndarray, torch.Tensor, or a sequence of these
            As `featx.FeatureExtractor.transform` takes them.
        y : array-like of shape (n_images,)
            Labels, numbers or text, each known.

        Returns
        -------
        FineTuneClassifier

        Raises
        ------
        ParameterError
            For a missing label (None, NaN, ""), a parameter out of range, fewer than two classes,
            or a loss that is no number.
        ImageDecodeError
            If images cannot be read; it names them.
        BackboneError, WeightsError
            If there is no such network, weights or layer.
        """
        self._check_parameters()
        from featx.finetuning._fit import fit_network
        from featx.finetuning._pool import Labelled

        images = Labelled.of(X)
        y = column_or_1d(require_known(y))
        check_classification_targets(y)
        if len(y) != len(images):
            raise ParameterError(
                f"y: got {len(y)} labels for {len(images)} images, expected one each"
            )
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ParameterError(
                f"y: got one class ({self.classes_[0]!s}), expected at least two classes"
            )
        seed = int(check_random_state(self.random_state).randint(LARGEST_SEED))
        fitted = fit_network(self, replace(images, codes=codes), seed)
        self.validation_rows_ = fitted.validation_rows
        self.history_, self.depths_ = fitted.history, fitted.depths
        self.best_epoch_ = fitted.kept.best_epoch
        self.kept_ = "fine-tuned" if self.best_epoch_ else "probe"
        self.train_from_ = fitted.kept.train_from
        self.n_trained_parameters_ = fitted.kept.n_trained_parameters
        stage = fitted.pools.stage
        self.strategy_, self.cache_ = fitted.pools.strategy, fitted.pools.cache
        self.n_frozen_passes_, self.uncut_ = stage.n_frozen_passes, stage.tunable.uncut
        self.probe_, self.network_ = fitted.probe, fitted.network
        self._fitted = fitted.predictor
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of each image, shape (n_images,); `X` as for `fit`."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; as in `fit`, no label may be missing."""
        return float(super().score(X, require_known(y), sample_weight))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X : images
            As for `fit`.

        Returns
        -------
        ndarray of shape (n_images, n_classes), float64
            Rows sum to 1; columns in the order of `classes_`.

        Raises
        ------
        ImageDecodeError
            If images cannot be read; it names them.
        """
        check_is_fitted(self)
        from scipy.special import softmax

        from featx.finetuning._pool import Labelled

        scores = self._fitted.scores(
            Labelled.of(X),
            batch_size=self.batch_size,
            workers=self.workers,
            progress=self.progress,
        )
        return np.asarray(softmax(scores, axis=1))

    def save_backbone(self, path: str | os.PathLike[str]) -> None:
        """Write the tuned network, without its classifier, as a weights file.

        ``featx.load_backbone(backbone, weights=path)``, ``FeatureExtractor`` and ``featx extract
        --weights`` take it like any other; its features have a fingerprint of their own.

        Parameters
        ----------
        path : path
            Ends in ``.safetensors``; written beside and renamed. Its header says how it was made.

        Raises
        ------
        ParameterError
            If the name has another ending.
        StoreWriteError
            If it cannot be written, is the file that training started from, or holds anything but
            older tuned weights.
        """
        check_is_fitted(self)
        from featx.finetuning._fit import write_weights

        network = self._fitted.network
        notes = {
            "architecture": network.name,
            "weights": self._fitted.weights,
            "train_from": self.train_from_ or "",
            "kept": self.kept_,
            "classes": json.dumps([str(name) for name in self.classes_.tolist()]),
            "epochs": str(len(self.history_) - 1),
            "best_epoch": str(self.best_epoch_),
            "resize_px": str(self._fitted.preprocessing.resize_px),
            "crop_px": str(self._fitted.preprocessing.crop_px),
            "preprocessing": json.dumps(self._fitted.preprocessing.to_dict()),
        }
        write_weights(
            path, network.module, head=network.head, weights=self.weights, metadata=notes
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _check_parameters(self) -> None:
        choose("augment", self.augment, AUGMENTS)
        choose("head", self.head, HEADS)
        for name in ("n_views", "epochs", "batch_size", "patience"):
            require_count(name, getattr(self, name))
        require_count("max_cache_bytes", self.max_cache_bytes, 0)
        require_count("max_disk_bytes", self.max_disk_bytes, 0)
        if self.learning_rate is not None:
            require_number("learning_rate", self.learning_rate, 0, above=True)
        require_number("weight_decay", self.weight_decay, 0)
        require_number("label_smoothing", self.label_smoothing, 0, 0.99)
        require_number("validation_fraction", self.validation_fraction, 0, 0.9)
        if self.train_from == "auto":
            self._check_sweep()

    def _check_sweep(self) -> None:
        """Refuse a sweep without a probe or without images that are held out."""
        for is_wrong, name, found, wanted in (
            (self.validation_fraction == 0, "validation_fraction", 0, "more than 0"),
            (self.weights is None, "weights", None, "pretrained ones"),
            (self.head == "random", "head", "random", "'auto' or 'probe'"),
        ):
            if is_wrong:
                raise ParameterError(
                    f"{name}: got {found!r} with train_from 'auto', expected {wanted}: depths are "
                    "compared with the probe on held-out images; or name one layer"
                )

"""A network's own final classifier as words."""

from __future__ import annotations

import numpy as np
from torch import nn

from featx.backbones.words import N_CLASSES, WITH_WORDS, ClassWords, imagenet_names
from featx.engines.engine import Network
from featx.errors import BackboneError

__all__ = ["classifier_words"]


def classifier_words(network: Network) -> ClassWords:
    """Return the rows of a classifier of ImageNet's thousand classes as words.

    A convolution of 1 x 1 counts as one too: it commutes with the mean over positions.

    Raises
    ------
    BackboneError
        If the network has no such classifier.
    """
    head = None if network.head is None else network.module.get_submodule(network.head)
    rows = getattr(head, "weight", None)
    is_linear = isinstance(head, nn.Linear) or (
        isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1) and head.groups == 1
    )
    if not is_linear or rows is None or len(rows) != N_CLASSES:
        raise BackboneError(
            f"text: backbone {network.name!r} with weights {network.weights_source} has no "
            f"classifier of ImageNet's {N_CLASSES:,} classes, whose rows are its words; "
            f"{WITH_WORDS}"
        )
    matrix = rows.detach().float().flatten(1).numpy().copy()
    bias = getattr(head, "bias", None)
    offset = np.zeros(len(matrix), np.float32) if bias is None else bias.detach().float().numpy()
    return ClassWords(imagenet_names(), matrix, offset.copy())

"""Train the later layers of a network on labelled images, where frozen features do not suffice.

What comes out is a weights file like any other: extraction, stores and indices use it by
``weights=FILE``, and its recipe has a fingerprint of its own.
"""

from featx.finetuning._classifier import FineTuneClassifier

__all__ = ["FineTuneClassifier"]

"""Find, decode and preprocess images, and record the bad ones; knows neither networks nor HDF5."""

from featx.images.augmentation import Augmentation
from featx.images.decode import DEFAULT_MAX_PIXELS, decode_image
from featx.images.inputs import as_sources, as_uint8_rgb, source_digest
from featx.images.join import (
    AttributeLabels,
    ClassLabels,
    Coverage,
    JoinedLabels,
    attribute_labels,
    class_labels,
    join_labels,
)
from featx.images.labels import LabelTable, read_labels
from featx.images.listing import describe_ignored
from featx.images.loader import ImageBatch, default_workers, iter_batches
from featx.images.manifest import ImageManifest
from featx.images.paths import absolute_path
from featx.images.preprocess import ImagePreprocessor, TransformPreprocessor
from featx.images.reader import ReadImage, read_image
from featx.images.samples import sample_data_dir
from featx.images.sources import warn_of_splits
from featx.images.thumbnail import thumbnail_jpeg

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "AttributeLabels",
    "Augmentation",
    "ClassLabels",
    "Coverage",
    "ImageBatch",
    "ImageManifest",
    "ImagePreprocessor",
    "JoinedLabels",
    "LabelTable",
    "ReadImage",
    "TransformPreprocessor",
    "absolute_path",
    "as_sources",
    "as_uint8_rgb",
    "attribute_labels",
    "class_labels",
    "decode_image",
    "default_workers",
    "describe_ignored",
    "iter_batches",
    "join_labels",
    "read_image",
    "read_labels",
    "sample_data_dir",
    "source_digest",
    "thumbnail_jpeg",
    "warn_of_splits",
]

"""Find, decode and preprocess images, and record the bad ones; knows neither networks nor HDF5."""

from featx.images.decode import decode_image
from featx.images.inputs import as_sources, as_uint8_rgb
from featx.images.join import attribute_labels, class_labels, join_labels
from featx.images.labels import read_labels
from featx.images.loader import ImageBatch, iter_batches
from featx.images.manifest import ImageManifest
from featx.images.preprocess import ImagePreprocessor, TransformPreprocessor
from featx.images.samples import sample_data_dir
from featx.images.thumbnail import thumbnail_jpeg

__all__ = [
    "ImageBatch",
    "ImageManifest",
    "ImagePreprocessor",
    "TransformPreprocessor",
    "as_sources",
    "as_uint8_rgb",
    "attribute_labels",
    "class_labels",
    "decode_image",
    "iter_batches",
    "join_labels",
    "read_labels",
    "sample_data_dir",
    "thumbnail_jpeg",
]

"""Find, decode and preprocess images, and record the bad ones; knows neither networks nor HDF5."""

from featx.images.decode import decode_image
from featx.images.inputs import as_sources
from featx.images.join import attribute_labels, class_labels
from featx.images.labels import read_labels
from featx.images.loader import iter_batches
from featx.images.manifest import ImageManifest
from featx.images.preprocess import ImagePreprocessor
from featx.images.samples import sample_data_dir

__all__ = [
    "ImageManifest",
    "ImagePreprocessor",
    "as_sources",
    "attribute_labels",
    "class_labels",
    "decode_image",
    "iter_batches",
    "read_labels",
    "sample_data_dir",
]

"""Find, decode and preprocess images, and record the bad ones; knows neither networks nor HDF5."""

from featx.images.decode import decode_image
from featx.images.join import attribute_labels, class_labels
from featx.images.manifest import ImageManifest
from featx.images.preprocess import ImagePreprocessor
from featx.images.samples import sample_data_dir

__all__ = [
    "ImageManifest",
    "ImagePreprocessor",
    "attribute_labels",
    "class_labels",
    "decode_image",
    "sample_data_dir",
]

"""Read the standard image sets as they unpack on disk; downloads nothing, never imports torch."""

from pipelines.datasets.crops import write_crops
from pipelines.datasets.images import ImageDataset
from pipelines.datasets.registry import DatasetCard, list_datasets, read_dataset
from pipelines.datasets.retrieval import RetrievalDataset

__all__ = [
    "DatasetCard",
    "ImageDataset",
    "RetrievalDataset",
    "list_datasets",
    "read_dataset",
    "write_crops",
]

"""Features on disk: ids, vectors, labels and what they were made with, in one HDF5 file.

Knows nothing of images, networks or scikit-learn. `docs/store-format.md` has the layout, and
`docs/decisions/store-crash-safety.md` how a commit survives a crash.
"""

from __future__ import annotations

from featx.store._failures import Failure
from featx.store.arrays import write_features
from featx.store.export import export_store
from featx.store.info import store_info
from featx.store.reader import FeatureStore, open_store
from featx.store.verify import verify_store
from featx.store.writer import StoreWriter

__all__ = [
    "Failure",
    "FeatureStore",
    "StoreWriter",
    "export_store",
    "open_store",
    "store_info",
    "verify_store",
    "write_features",
]

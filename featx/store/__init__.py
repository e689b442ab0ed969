"""Features on disk: ids, vectors, labels and what they were made with, in one HDF5 file.

Knows nothing of images, networks or scikit-learn. `docs/store-format.md` has the layout, and
`docs/decisions/store-crash-safety.md` how a commit survives a crash.
"""

from __future__ import annotations

from featx.store._failures import Failure
from featx.store._remote import working_copy
from featx.store._tables import TableInfo
from featx.store.arrays import write_features
from featx.store.export import export_store
from featx.store.fitting import fitting_table, open_fitting, open_pair
from featx.store.info import StoreInfo, store_info, table_notes
from featx.store.prune import is_gone, known_images, prune_store, remove_images
from featx.store.reader import FeatureStore, open_store
from featx.store.table_writer import KnownRow, TableWriter
from featx.store.verify import VerifyResult, verify_store
from featx.store.writer import StoreWriter

__all__ = [
    "Failure",
    "FeatureStore",
    "KnownRow",
    "StoreInfo",
    "StoreWriter",
    "TableInfo",
    "TableWriter",
    "VerifyResult",
    "export_store",
    "fitting_table",
    "is_gone",
    "known_images",
    "open_fitting",
    "open_pair",
    "open_store",
    "prune_store",
    "remove_images",
    "store_info",
    "table_notes",
    "verify_store",
    "working_copy",
    "write_features",
]

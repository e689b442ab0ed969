"""A store's rows in a database that is already there: vectors, labels and metadata, kept in step.

A new engine is a module with a class that does what `featx.databases.base.Database` says, and a
line in `featx.databases.catalogue.ENGINES`.
"""

from featx.databases.catalogue import is_database_url, open_database
from featx.databases.query import DatabaseIndex
from featx.databases.sync import SyncResult, sync

__all__ = ["DatabaseIndex", "SyncResult", "is_database_url", "open_database", "sync"]

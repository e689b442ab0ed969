"""Engines by the scheme of their URLs."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlencode

from featx.databases.base import Address, Database
from featx.errors import (
    FeatxError,
    FileFormatError,
    ParameterError,
    StoreWriteError,
    choose,
    one_line,
)

__all__ = ["ENGINES", "is_database_url", "open_database", "parse_url"]

# Module and class of each, and whether it may be a server.
ENGINES = {
    "lancedb": ("_lancedb", "LanceDatabase", False),
    "qdrant": ("_qdrant", "QdrantDatabase", True),
    "postgresql": ("_postgresql", "PostgresDatabase", True),
    "sqlite": ("_sqlite", "SqliteDatabase", False),
    "duckdb": ("_duckdb", "DuckDatabase", False),
    "milvus": ("_milvus", "MilvusDatabase", True),
}
TABLE = "featx"
_TABLE = re.compile(r"[A-Za-z]\w{0,39}", re.ASCII)


def is_database_url(text: str) -> bool:
    """Tell whether a text is the URL of a database.

    Examples
    --------
    >>> is_database_url("sqlite:///photos.db"), is_database_url("photos.index")
    (True, False)
    """
    return text.partition("://")[0] in ENGINES and "://" in text


def parse_url(url: str) -> Address:
    """Read a URL.

    Three slashes begin an absolute path, two a relative one; a server's name stands behind two.
    ``?table=NAME`` names the table; of Qdrant and Milvus on a server what stands behind the host
    does, too.

    Raises
    ------
    ParameterError
        If it is none, or names no place.

    Examples
    --------
    >>> parse_url("sqlite:///data/photos.db?table=birds")
    Address(engine='sqlite', host='', path='/data/photos.db', table='birds', options='')
    >>> parse_url("qdrant://localhost:6333/birds").table
    'birds'
    """
    engine, separator, rest = url.partition("://")
    if not separator:
        known = ", ".join(f"{name}://" for name in ENGINES)
        raise ParameterError(f"URL: got {url!r}, expected one that begins with {known}")
    choose("engine of URL", engine, ENGINES)
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    table = options.pop("table", "")
    may_serve = ENGINES[engine][2]
    host, slash, path = place.partition("/")
    path = slash + path
    if not may_serve:
        host, path = "", unquote(place)
    elif engine != "postgresql":
        if host:
            table, path = table or path.strip("/"), ""
        path = unquote(path)
    if not place.strip("/") and engine != "postgresql":
        raise ParameterError(f"URL: got {url!r}, expected a file, folder or host behind ://")
    table = table or TABLE
    if not _TABLE.fullmatch(table):
        raise ParameterError(
            f"URL: got table {table!r}, expected at most 40 ASCII letters, digits and '_' that "
            "begin with a letter"
        )
    if options and engine != "postgresql":
        raise ParameterError(
            f"URL: got the option {next(iter(options))!r}, expected 'table' and no other"
        )
    return Address(engine, host, path, table, urlencode(options))


@contextlib.contextmanager
def open_database(url: str) -> Iterator[Database]:
    """Open the table that a URL names; what the engine refuses is an error that says so.

    Parameters
    ----------
    url : str
        ``lancedb:///folder``, ``qdrant://host:port/collection`` or ``qdrant:///folder``,
        ``postgresql://user@host/database``, ``sqlite:///file``, ``duckdb:///file``,
        ``milvus://host:port/collection`` or ``milvus:///file.db``, each with ``?table=NAME``
        where it is not "featx".

    Raises
    ------
    ParameterError
        If the URL is none of these.
    MissingDependencyError
        If the engine's package is not installed, with the install command.
    StoreWriteError
        If it cannot be reached or opened, or fails meanwhile.
    """
    address = parse_url(url)
    _require_folder(address)
    module, name, _ = ENGINES[address.engine]
    try:
        make = getattr(importlib.import_module(f"featx.databases.{module}"), name)
        database: Database = make(address)
    except FeatxError:
        raise
    except Exception as err:
        raise StoreWriteError(
            f"{address.name}: cannot be reached or opened ({one_line(err)}), expected a "
            f"{address.engine} database there; check the address, and that it runs"
        ) from err
    try:
        yield database
    except FeatxError:
        raise
    except database.errors as err:
        raise StoreWriteError(
            f"{address.name}: the database refused ({one_line(err)}); what it has taken stays: "
            "run again when the database works"
        ) from err
    finally:
        with contextlib.suppress(*database.errors):
            database.close()


def _require_folder(address: Address) -> None:
    """Refuse a file whose folder is not there, which engines say in their own odd ways."""
    folder = os.path.dirname(address.path) or "."  # noqa: PTH120
    if address.engine != "postgresql" and not address.host and not os.path.isdir(folder):  # noqa: PTH112
        raise FileFormatError(
            f"{address.name}: there is no folder {folder!r}, expected one; make it first"
        )

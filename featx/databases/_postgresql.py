"""PostgreSQL with pgvector: an HNSW index beside the rows."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx._progress import Progress
from featx.databases._sql import SqlDatabase, quote
from featx.databases.base import Address, Rows
from featx.errors import FeatxWarning

__all__ = ["PostgresDatabase"]

INDEX_FROM = 10_000  # rows; below, comparing with all takes a few milliseconds
MAX_INDEXED = 2000  # numbers of a vector that pgvector's index takes
NODE_BYTES = 800  # of the graph, besides the vector
MOST_KIB = 2 * 2**20 - 1  # what a server on Windows takes; its own setting may be larger
INDEXED = "SELECT tuples_done FROM pg_stat_progress_create_index WHERE pid = %s"
TIMEOUT_S = 10
# The planner takes a distance for as cheap as a comparison of two integers, and leaves out that
# long vectors lie in a table of their own; so it would scan them all. At 8 times the default it
# takes the graph where no condition is set, or 1 row of 10 fits (100,000 x 1,280).
OPERATOR_COST = 0.02


class PostgresDatabase(SqlDatabase):
    """Vectors come in by COPY, in pgvector's own bytes."""

    types: ClassVar[dict[str, str]] = {"text": "text", "integer": "bigint",
             "number": "double precision",
             "vector": "vector({n})"}  # fmt: skip
    mark = "%b"
    distance = "vector <=> %b"
    efforts = (100, 200, 400, 1000)  # hnsw.ef_search, of which 1000 is pgvector's most
    effort = 100

    def connect(self, address: Address) -> Any:
        """Connect, and have the extension made where it may be."""
        self._psycopg = require("psycopg", extra="postgresql", purpose="postgresql://")
        self.errors = (self._psycopg.Error,)
        options = f"?{address.options}" if address.options else ""
        self._url = f"postgresql://{address.host}{address.path}{options}"
        connection = self._open()
        try:
            _add_extension(self._psycopg, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> Any:
        return self._psycopg.connect(self._url, autocommit=True, connect_timeout=TIMEOUT_S)

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement, whose % is a mark only where there are parameters."""
        return super().run(statement, list(parameters) or None)  # type: ignore[arg-type]

    def _take(self, note: dict[str, Any]) -> None:
        super()._take(note)
        self.effort = note.get("effort", self.efforts[0])

    def has_table(self, name: str) -> bool:
        """Look it up along the search path."""
        return self.run("SELECT to_regclass(%s)", [quote(name)])[0][0] is not None

    def many(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of some parameters."""
        with self.connection.cursor() as cursor:
            cursor.executemany(statement, parameters)

    def insert(self, rows: Rows) -> None:
        """Copy into a table of this transaction, then insert from there."""
        self.run(f"CREATE TEMPORARY TABLE featx_rows (LIKE {self.table}) ON COMMIT DROP")
        names = ", ".join(self.names)
        found = (
            "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attnum > 0 AND attrelid"
        )
        types = [kind for (kind,) in self.run(f"{found} = 'featx_rows'::regclass ORDER BY attnum")]
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY featx_rows ({names}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(types)
            for row in rows.tuples(map(_Vector, rows.vectors)):
                copy.write_row(row)
        self.run(self.upsert(f"SELECT {names} FROM featx_rows"))

    def remove(self, ids: list[str]) -> None:
        """Remove a block at once."""
        statement = f"DELETE FROM {self.table} WHERE id = ANY(%s)"
        self._commit(lambda: self.run(statement, [ids]))

    def as_parameter(self, vector: NDArray[np.float32]) -> Any:
        """Return what the dumper takes."""
        return _Vector(vector)

    def prepare_search(self, k: int, *, exact: bool, has_filter: bool) -> None:
        """Have the index go on until enough rows fit, or leave it out."""
        if exact:
            self.run("SET LOCAL enable_indexscan = off")
        self.run(f"SET LOCAL cpu_operator_cost = {OPERATOR_COST}")
        # strict_order drops rows that are found late; `search` sorts
        self.run("SET LOCAL hnsw.iterative_scan = relaxed_order")
        # a scan that continues finds fewer of the nearest than one that starts with as many
        effort = self.efforts[-1] if has_filter else min(max(self.effort, k), self.efforts[-1])
        self.run(f"SET LOCAL hnsw.ef_search = {effort}")

    def build_index(self) -> None:
        """Make the index once there are enough rows; the database then keeps it up to date."""
        name, n = f"{self.address.table}_featx_hnsw", self.count()
        if self.n_features <= MAX_INDEXED and n >= INDEX_FROM and not self.has_table(name):
            self._allow_memory(n)
            statement = (
                f"CREATE INDEX IF NOT EXISTS {quote(name)} ON {self.table} "
                "USING hnsw (vector vector_cosine_ops)"
            )
            with self._show_progress(n):
                self._build_graph(statement)
        self.run(f"ANALYZE {self.table}")

    def _allow_memory(self, n: int) -> None:
        """Raise maintenance_work_mem so that the graph fits: minutes instead of hours."""
        kib = min(n * (4 * self.n_features + NODE_BYTES) // 1024 + 1, MOST_KIB)
        setting = "SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'"
        if kib > self.run(setting)[0][0]:
            self.run(f"SET maintenance_work_mem = '{kib}kB'")

    def _build_graph(self, statement: str) -> None:
        """Build by several processes, or by one where these have too little memory in common."""
        errors = self._psycopg.errors
        try:
            self.run(statement)
        except (errors.DiskFull, errors.OutOfMemory):  # of /dev/shm; a full disk ends both
            self.run("SET max_parallel_maintenance_workers = 0")
            self.run(statement)
            warnings.warn(
                f"{self.address.name}: one process built the index, because the server has too "
                "little shared memory for several. For a faster build, give it more (docker run "
                "--shm-size=3g)",
                FeatxWarning,
                stacklevel=4,
            )

    @contextlib.contextmanager
    def _show_progress(self, n: int) -> Iterator[None]:
        """Show how many rows are in the index: another connection can ask for that."""
        me, ended = self.run("SELECT pg_backend_pid()")[0][0], threading.Event()

        def watch() -> None:
            done = 0
            with contextlib.suppress(*self.errors), self._open() as other:
                while not ended.wait(0.5):
                    found = other.execute(INDEXED, [me]).fetchone() or (0,)
                    progress.advance(max(0, min(found[0], n) - done))
                    done = max(done, found[0])

        with Progress(n, "sync: index", unit="rows") as progress:
            watching = threading.Thread(target=watch, daemon=True)
            watching.start()
            try:
                yield
            finally:
                ended.set()
                watching.join()


class _Vector:
    """A vector, on its way into a statement or COPY."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values


def _add_extension(psycopg: Any, connection: Any) -> None:
    """Make the extension, and tell psycopg how a vector is written."""
    find = "SELECT oid FROM pg_type WHERE typname = 'vector'"
    found = connection.execute(find).fetchone()
    if found is None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        found = connection.execute(find).fetchone()

    class VectorDumper(psycopg.adapt.Dumper):  # type: ignore[misc]
        """pgvector's binary format: number of dimensions, zero, big-endian float32."""

        oid = found[0]
        format = psycopg.pq.Format.BINARY

        def dump(self, obj: _Vector) -> bytes:
            head = np.array([len(obj.values), 0], ">u2").tobytes()
            return head + obj.values.astype(">f4").tobytes()

    connection.adapters.register_dumper(_Vector, VectorDumper)
    info = psycopg.types.TypeInfo("vector", found[0], 0)
    info.register(connection)

"""Milvus: a server, or Milvus Lite in a folder whose name ends in ``.db``."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.databases.base import Address, Hit, Rows
from featx.databases.conditions import Clause, write_clauses
from featx.errors import ParameterError

__all__ = ["MilvusDatabase"]

ROWS_AT_ONCE = 1000
MAX_TEXT = 65_535  # bytes, by Milvus
MAX_FOUND = 16_384
TIMEOUT_S = 10  # to connect


class MilvusDatabase:
    """The note is a property of the collection; Milvus Lite keeps no description."""

    efforts: tuple[int, ...] = ()
    effort = 0

    def __init__(self, address: Address) -> None:
        package = require("pymilvus", extra="milvus", purpose="milvus://")
        for name in ("pymilvus", "milvus_lite", "grpc"):  # they print what they raise
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.errors: tuple[type[Exception], ...] = (package.MilvusException, OSError, RuntimeError)
        self.address, self._package, self._name = address, package, address.table
        if not address.host:
            require("milvus_lite", extra="milvus", purpose="milvus:///FILE.db")
            if not address.path.endswith(".db"):
                raise ParameterError(
                    f"URL: got the path {address.path!r}, expected a name that ends in .db, "
                    "as Milvus Lite asks for"
                )
        uri = f"http://{address.host}" if address.host else address.path
        token = os.environ.get("MILVUS_TOKEN", "")
        self._client = package.MilvusClient(uri, token=token, timeout=TIMEOUT_S)
        self._columns: list[str] = []

    def read_note(self) -> dict[str, Any] | None:
        """Return the note; None where there is no such collection."""
        if not self._client.has_collection(self._name):
            return None
        found = self._client.describe_collection(self._name)["properties"].get("featx")
        if found is None:
            raise self.address.not_ours()
        note: dict[str, Any] = json.loads(found)
        self._take(note)
        self._client.load_collection(self._name)
        return note

    def _take(self, note: dict[str, Any]) -> None:
        self._columns = ["revision", *(ours for ours, _, _ in note["columns"])]

    def create(self, note: dict[str, Any]) -> None:
        """Make the collection, its index and the note in one step."""
        self._take(note)
        kinds = self._package.DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=128)
        schema.add_field("revision", kinds.VARCHAR, max_length=64)
        types: dict[str, Any] = {
            "text": (kinds.VARCHAR, {"max_length": MAX_TEXT}),
            "integer": (kinds.INT64, {"nullable": True}),
            "number": (kinds.DOUBLE, {"nullable": True}),
        }
        for ours, _, kind in note["columns"]:
            schema.add_field(ours, types[kind][0], **types[kind][1])
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=note["n_features"])
        index = self._client.prepare_index_params()
        # Milvus Lite's graph loses rows under a filter, and some without (docs/databases.md)
        chosen = "AUTOINDEX" if self.address.host else "FLAT"
        index.add_index("vector", index_type=chosen, metric_type="COSINE")
        self._client.create_collection(
            self._name,
            schema=schema,
            index_params=index,
            consistency_level="Strong",
            properties={"featx": json.dumps(note)},
        )

    def write_note(self, note: dict[str, Any]) -> None:
        """Replace the property."""
        self._client.alter_collection_properties(self._name, {"featx": json.dumps(note)})

    def drop(self) -> None:
        """Remove the collection."""
        self._client.drop_collection(self._name)

    def revisions(self) -> dict[str, str]:
        """Return each row's revision by its id."""
        found: dict[str, str] = {}
        rows = self._client.query_iterator(
            self._name, batch_size=10_000, output_fields=["id", "revision"], filter=""
        )
        while part := rows.next():
            found |= {row["id"]: row["revision"] for row in part}
        rows.close()
        return found

    def write(self, rows: Rows) -> None:
        """Insert or replace, a thousand at once."""
        for part in rows.split(ROWS_AT_ONCE):
            data = [
                {"id": name, "vector": vector, **columns}
                for name, vector, columns in zip(part.ids, part.vectors, part.dicts(), strict=True)
            ]
            self._client.upsert(self._name, data)

    def remove(self, ids: list[str]) -> None:
        """Remove rows."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            self._client.delete(self._name, ids=ids[start : start + ROWS_AT_ONCE])

    def build_index(self) -> None:
        """Have what was written flushed; the index follows by itself."""
        self._client.flush(self._name)

    def count(self) -> int:
        """Return the number of rows."""
        found = self._client.query(self._name, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        clauses: Sequence[Clause] = (),
        *,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the nearest rows that fit; its distances are cosines."""
        where = write_clauses(clauses, _literal, quote="", brackets="[]")
        found = self._client.search(
            self._name,
            data=[vector],
            limit=min(k, MAX_FOUND),
            filter=where,
            output_fields=self._columns,
        )[0]
        return [Hit(row["id"], 1 - row["distance"], dict(row["entity"])) for row in found]

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

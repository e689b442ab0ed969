"""Qdrant: a server, or its client's local mode in a folder."""

from __future__ import annotations

import os
import sqlite3
import uuid
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.databases.base import Address, Hit, Rows
from featx.databases.conditions import Clause

__all__ = ["QdrantDatabase"]

ROWS_AT_ONCE = 500
TIMEOUT_S = 60
RANGES = {"<=": "lte", ">=": "gte", "<": "lt", ">": "gt"}


class QdrantDatabase:
    """Points have UUIDs made of the ids; the note is the collection's metadata."""

    efforts: tuple[int, ...] = ()
    effort = 0

    def __init__(self, address: Address) -> None:
        client = require("qdrant_client", extra="qdrant", purpose="qdrant://")
        from qdrant_client.http import exceptions

        self.errors: tuple[type[Exception], ...] = (
            exceptions.ApiException, sqlite3.Error, OSError, RuntimeError, ValueError,
        )  # fmt: skip
        self.address, self._models = address, client.models
        key = os.environ.get("QDRANT_API_KEY")
        self._client = (
            client.QdrantClient(
                url=f"{'https' if key else 'http'}://{address.host}", api_key=key,
                timeout=TIMEOUT_S, check_compatibility=False,
            )
            if address.host
            else client.QdrantClient(path=address.path)
        )  # fmt: skip
        self._name = address.table
        self._client.collection_exists(self._name)  # the client connects when it is first asked

    def read_note(self) -> dict[str, Any] | None:
        """Return the note; None where there is no such collection."""
        if not self._client.collection_exists(self._name):
            return None
        found = (self._client.get_collection(self._name).config.metadata or {}).get("featx")
        if found is None:
            raise self.address.not_ours()
        note: dict[str, Any] = found
        return note

    def create(self, note: dict[str, Any]) -> None:
        """Make the collection, with the note, and an index of each column to filter by."""
        m = self._models
        self._client.create_collection(
            self._name,
            vectors_config=m.VectorParams(size=note["n_features"], distance=m.Distance.COSINE),
            metadata={"featx": note},
        )
        kinds = {"text": "keyword", "integer": "integer", "number": "float"}
        if self.address.host:  # local mode has none
            for ours, _, kind in note["columns"]:
                self._client.create_payload_index(self._name, ours, field_schema=kinds[kind])

    def write_note(self, note: dict[str, Any]) -> None:
        """Replace the metadata."""
        self._client.update_collection(self._name, metadata={"featx": note})

    def drop(self) -> None:
        """Remove the collection."""
        self._client.delete_collection(self._name)

    def revisions(self) -> dict[str, str]:
        """Return each row's revision by its id."""
        found: dict[str, str] = {}
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._name, limit=10_000, offset=offset, with_payload=["id", "revision"]
            )
            found |= {point.payload["id"]: point.payload["revision"] for point in points}
            if offset is None:
                return found

    def write(self, rows: Rows) -> None:
        """Insert or replace, some hundred at once."""
        for part in rows.split(ROWS_AT_ONCE):
            payloads = [
                {"id": name, **columns}
                for name, columns in zip(part.ids, part.dicts(), strict=True)
            ]
            batch = self._models.Batch(
                ids=list(map(_uuid, part.ids)), vectors=part.vectors.tolist(), payloads=payloads
            )
            with warnings.catch_warnings():  # that local mode is slow with many points
                warnings.simplefilter("ignore", UserWarning)
                self._client.upsert(self._name, batch, wait=True)

    def remove(self, ids: list[str]) -> None:
        """Remove rows."""
        selector = self._models.PointIdsList(points=list(map(_uuid, ids)))
        self._client.delete(self._name, selector, wait=True)

    def build_index(self) -> None:
        """Leave it to the server, which indexes as rows come."""

    def count(self) -> int:
        """Return the number of rows."""
        return int(self._client.count(self._name, exact=True).count)

    def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        clauses: Sequence[Clause] = (),
        *,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the nearest rows that fit; its scores are cosines."""
        m = self._models
        found = self._client.query_points(
            self._name,
            query=vector.tolist(),
            limit=k,
            query_filter=m.Filter(must=[self._condition(c) for c in clauses]) if clauses else None,
            # local mode compares with all rows, and warns of being told so
            search_params=m.SearchParams(exact=exact) if self.address.host else None,
            with_payload=True,
        )
        hits = []
        for point in found.points:
            columns = dict(point.payload)
            hits.append(Hit(columns.pop("id"), 1 - point.score, columns))
        return hits

    def _condition(self, clause: Clause) -> Any:
        m = self._models
        if clause.operator in RANGES:
            limits = m.Range(**{RANGES[clause.operator]: clause.values[0]})
            return m.FieldCondition(key=clause.column, range=limits)
        fits: list[Any] = [self._equals(clause.column, value) for value in clause.values]
        null = m.IsNullCondition(is_null=m.PayloadField(key=clause.column))
        if clause.operator == "in":
            return m.Filter(should=fits + [null] * clause.missing)
        return m.Filter(must_not=fits + [null] * (not clause.missing))

    def _equals(self, column: str, value: Any) -> Any:
        m = self._models
        if isinstance(value, float):
            return m.FieldCondition(key=column, range=m.Range(gte=value, lte=value))
        return m.FieldCondition(key=column, match=m.MatchValue(value=value))

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))

"""Refusals: a status and one sentence, without any path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

__all__ = ["Problem", "RefusalError"]


@dataclass(frozen=True)
class Problem:
    """The body of every answer that is not what was asked for."""

    error: Annotated[str, Field(description="What is wrong, and what was expected.")]


class RefusalError(Exception):
    """A request that is answered with a status of 400 or more.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
        For the client: nothing of the server's files may be in it.
    headers : dict, optional
        Further ones.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}

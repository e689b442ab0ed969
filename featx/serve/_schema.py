"""What the answers of the search server hold, field by field, as /openapi.json has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from featx.serve._labeller import Prediction
from featx.serve._refusal import Problem

__all__ = [
    "Added",
    "Answer",
    "BatchAnswer",
    "Column",
    "Description",
    "Embedding",
    "Embeddings",
    "Example",
    "Health",
    "LabelCount",
    "Match",
    "Usage",
    "Wording",
]

Row = Annotated[int, Field(description="Number of an image, its own as long as the server runs.")]
Id = Annotated[
    str | None,
    Field(
        description="SHA-256 of the image's file, the same whatever index it is in; null where "
        "the index does not know it."
    ),
]
Label = Annotated[str | None, Field(description="Label, null where the index has none.")]
Name = Annotated[
    str | None, Field(description="File name without its folders, with --show-names alone.")
]
Path = Annotated[str | None, Field(description="Path of the image, with --show-paths alone.")]
Metadata = Annotated[
    dict[str, str],
    Field(description='Values of the index\'s further columns, "" where one is missing.'),
]
Collection = Annotated[
    str, Field(description="Changes whenever the collection does: then ask again.")
]
NSamples = Annotated[int, Field(description="Images in the index.")]


@dataclass(frozen=True)
class Example:
    """An image to begin with."""

    row: Row
    id: Id = None
    label: Label = None
    name: Name = None
    path: Path = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """One neighbour."""

    row: Row
    distance: Annotated[float, Field(description="Distance to the query; less is more alike.")]
    id: Id = None
    label: Label = None
    name: Name = None
    path: Path = None
    metadata: Metadata = field(default_factory=dict)
    is_copy: Annotated[bool, Field(description="Whether it is a near-duplicate of the query.")] = (
        False
    )
    copy_of: Annotated[
        int | None,
        Field(description="Row of an earlier match of which this is a near-duplicate, else null."),
    ] = None
    inliers: Annotated[
        int | None,
        Field(
            description="Local features that agree with the query's, 0 where none was verified; "
            "null where the index compares vectors."
        ),
    ] = None
    region: Annotated[
        list[Point] | None,
        Field(
            description="Where the query's corners (top left, top right, bottom right, bottom "
            "left) are in this image, which may be beyond it; null where it was not verified."
        ),
    ] = None
    outline: Annotated[
        list[Point] | None,
        Field(description="The part of that region that lies in this image, to be drawn over it."),
    ] = None
    outline_in_query: Annotated[
        list[Point] | None,
        Field(description="Where this image lies in the query, to be drawn over that."),
    ] = None


Point = Annotated[
    list[float],
    Field(min_length=2, max_length=2, description="Shares of the picture's width and height."),
]


@dataclass(frozen=True)
class Wording:
    """What one of the words was taken as."""

    text: Annotated[str, Field(description="As it was asked.")]
    is_wanted: Annotated[bool, Field(description="Whether it is to be there, or to be absent.")]
    names: Annotated[
        list[str],
        Field(
            description="Classes of the network that it stands for, a hundred at most; the word "
            "itself where the network reads text."
        ),
    ]


@dataclass(frozen=True)
class Answer:
    """Neighbours, nearest first, and what the model says of the query."""

    matches: Annotated[list[Match], Field(description="Neighbours, nearest first.")]
    prediction: Annotated[
        Prediction | None,
        Field(description="What the model says of the query; null without a model."),
    ] = None
    query: Annotated[
        Example | None,
        Field(description="The image of the index that was asked about, null for an upload."),
    ] = None
    upload: Annotated[
        str | None,
        Field(
            description="Name of an uploaded image that the server keeps for now: under it it can "
            "be asked about, and shown, as an image of the index can. Null where it is not kept."
        ),
    ] = None
    text: Annotated[
        list[Wording], Field(description="What words were taken as, where some were asked.")
    ] = field(default_factory=list)
    collection: Collection = ""


@dataclass(frozen=True)
class BatchAnswer:
    """One answer or one problem for each image, in their order."""

    results: Annotated[list[Answer | Problem], Field(description="As many as images were sent.")]


@dataclass(frozen=True)
class Embedding:
    """One vector."""

    index: Annotated[int, Field(description="Place of what was sent, from 0.")]
    embedding: Annotated[list[float], Field(description="The vector, as the index holds vectors.")]
    object: Annotated[Literal["embedding"], Field(description="What clients of OpenAI look at.")]


@dataclass(frozen=True)
class Usage:
    """Always nothing: nobody pays by the word here."""

    prompt_tokens: Annotated[int, Field(description="0.")] = 0
    total_tokens: Annotated[int, Field(description="0.")] = 0


@dataclass(frozen=True)
class Embeddings:
    """Vectors in the form of OpenAI's embeddings, which clients of vector databases take."""

    data: Annotated[list[Embedding], Field(description="A vector for each, in their order.")]
    model: Annotated[str, Field(description="The network and its layer.")]
    object: Annotated[Literal["list"], Field(description="What clients of OpenAI look at.")]
    usage: Annotated[Usage, Field(description="What clients of OpenAI look at.")]


@dataclass(frozen=True)
class LabelCount:
    """A label of the index and its number of images."""

    label: Annotated[str, Field(description="The label.")]
    n_samples: Annotated[int, Field(description="Images with this label.")]


@dataclass(frozen=True)
class Column:
    """A further column of the index, and how to filter by it."""

    name: Annotated[str, Field(description="Its name, as a filter has it.")]
    kind: Annotated[
        Literal["number", "choice", "link", "text"],
        Field(
            description="number: ranges may be asked for; choice: few different values; link: "
            "addresses of web pages; text: anything else."
        ),
    ]
    minimum: Annotated[float | None, Field(description="Smallest number, else null.")] = None
    maximum: Annotated[float | None, Field(description="Largest number, else null.")] = None
    values: Annotated[list[str], Field(description="The values of a choice.")] = field(
        default_factory=list
    )


@dataclass(frozen=True)
class Health:
    """Whether it runs, and on how many images."""

    status: Annotated[str, Field(description='"ok".')]
    n_samples: NSamples
    collection: Collection
    problem: Annotated[
        str | None,
        Field(description="Why a changed file of the index is not served, else null."),
    ]


@dataclass(frozen=True)
class Description:
    """What may be asked here."""

    n_samples: NSamples
    metric: Annotated[
        str, Field(description="Of the distances: cosine, euclidean or dot; or instances.")
    ]
    labels: Annotated[list[LabelCount], Field(description="Labels in alphabetical order.")]
    columns: Annotated[list[Column], Field(description="Further columns, to show and filter by.")]
    link_column: Annotated[
        str | None, Field(description="Column with the address of each image's own page.")
    ]
    examples: Annotated[list[Example], Field(description="Images to begin with.")]
    has_words: Annotated[bool, Field(description="Whether words may be asked.")]
    has_model: Annotated[bool, Field(description="Whether queries are labelled.")]
    has_map: Annotated[bool, Field(description="Whether /map shows the collection.")]
    is_writable: Annotated[bool, Field(description="Whether images may be added and removed.")]
    needs_write_token: Annotated[
        bool, Field(description="Whether changes need a token of their own.")
    ]
    max_upload_bytes: Annotated[int, Field(description="Largest body of a request.")]
    max_k: Annotated[int, Field(description="Most neighbours.")]
    collection: Collection
    problem: Annotated[
        str | None,
        Field(description="Why a changed file of the index is not served, else null."),
    ]


@dataclass(frozen=True)
class Added:
    """The new row."""

    row: Row
    n_samples: NSamples
    id: Id
    collection: Collection

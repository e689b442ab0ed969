"""``featx query``."""

from __future__ import annotations

import argparse
import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.cli._messages import describe_agreement, describe_failures, list_failures
from featx.cli._outputs import add_page
from featx.cli._streams import show_name
from featx.cli.options import add_moved_weights, add_options, as_source, read_options
from featx.errors import ParameterError

if TYPE_CHECKING:
    from featx.extraction.words import WordQuery

MAX_NAMES = 5
BY_CLASSES = "distance (1 - probability)"
SURE = 0.5  # of such a distance: below it the words have more than half of the probability


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.cli._later import import_scikit_learn

    import_scikit_learn()
    from featx.extraction import RunOptions
    from featx.retrieval.rerankings import RERANKINGS

    parser.usage = "%(prog)s INDEX [IMAGE ...] [--text WORDS] [options]"  # one of the two
    parser.add_argument(
        "index",
        metavar="INDEX",
        help="a file of featx index, or the URL of a database that featx sync wrote to",
    )
    images = parser.add_argument(
        "image",
        nargs="+",  # not "*", which would be satisfied with none before an option
        default=[],
        metavar="IMAGE",
        help="images, folders, globs, a CSV with 'path', or stores; none if --text is enough",
    )
    images.required = False
    parser.add_argument(
        "--text",
        action="append",
        metavar="WORDS",
        help="what to find, in words, such as 'fire engine', alone or together with each image; "
        "'umbrella +car' asks for both, and --text=-snow excludes",
    )
    parser.add_argument("-k", type=int, default=10, help="matches per image (default 10)")
    parser.add_argument(
        "--max-distance",
        type=float,
        metavar="D",
        help="leave out matches that are farther (default none)",
    )
    parser.add_argument(
        "--rotations",
        type=int,
        default=1,
        metavar="N",
        help="also ask with the image turned, N angles in all (default 1); 4 for photographs that "
        "may lie on their side",
    )
    parser.add_argument(
        "--rerank",
        action="append",
        choices=["none", *RERANKINGS],
        help="re-order the matches (default none); given several times, each continues from the "
        "one before",
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only images with this label or metadata: label=cat, colour!=red, 'price<=20'; all "
        "must hold, and several values of one column are alternatives",
    )
    add_page(parser, "the pictures")
    add_moved_weights(parser)
    add_options(parser, RunOptions, ("device", "batch_size", "workers", "max_pixels"))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Find what looks like the images."""
    with contextlib.ExitStack() as stack:
        index, options = _open_index(args, stack)
        asked = _read_text(args, index)
        paths, features, failures = _read_queries(args, index)
        results: list[dict[str, Any]] = []
        best = 0.0
        if paths or not args.image:
            if "rerank" in options and paths:
                options["images"] = paths
            results = _ask(index, features, args, options)
            best = results[0]["matches"][0]["distance"] if results[0]["matches"] else 0.0
            _leave_out_far(results, args.max_distance)
    names = paths if args.image else [" ".join(args.text)]
    for one, name in zip(results, names, strict=True):
        one["query"] = name
    result: dict[str, Any] = {
        "results": results,
        "failures": failures,
        "distance": _name_distance(args, index, asked),
    }
    if asked is not None:
        result["text"] = asked.to_dicts()
    if result["distance"] == BY_CLASSES and not args.image and best > SURE:
        result["probability"] = 1 - best
    if not results:
        return {**result, "ok": False, "error": describe_failures(failures)}
    if args.html:
        from featx.cli._galleries import matches_report

        report = matches_report(results, words=args.text or (), has_images=bool(args.image))
        result["report"] = str(report.save(args.html))
    return result


def _ask(
    index: Any, features: Any, args: argparse.Namespace, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the matches of each query, with what is known of them."""
    from featx.databases import DatabaseIndex

    found = index.query(features, k=args.k, filter=args.filter or None, **options)
    if isinstance(index, DatabaseIndex):
        return [{"matches": matches} for matches in found]
    results: list[dict[str, Any]] = found.to_dicts()
    _add_metadata(results, np.atleast_2d(found.indices), getattr(index, "metadata_", {}))
    return results


def _name_distance(args: argparse.Namespace, index: Any, asked: WordQuery | None) -> str:
    """Say what is printed before each match; docs/similar.md and docs/words.md explain it."""
    from featx.retrieval import InstanceIndex

    if set(args.rerank or ()) - {"none"}:
        return "distance after re-ranking"
    if asked is not None and asked.words.has_classes:
        return BY_CLASSES
    if isinstance(index, InstanceIndex):
        return "distance (1 or less: verified)"
    return f"{getattr(index, 'metric', 'cosine')} distance"  # a database's is the cosine


def _read_text(args: argparse.Namespace, index: Any) -> WordQuery | None:
    """Return what the words were taken as, before any image is read."""
    from featx.extraction.words import ask_words

    if not args.text and not args.image:
        raise ParameterError("IMAGE: got none, and no --text, expected images or words to find")
    if not args.image and "spatial" in (args.rerank or ()):
        raise ParameterError(
            "--rerank: got 'spatial' with words alone, which compares images; expected an image "
            "beside the words, or another order"
        )
    if not args.text:
        return None
    return ask_words(args.text, index.recipe_, index.made_with_, weights=args.weights)


def _read_queries(
    args: argparse.Namespace, index: Any
) -> tuple[list[str], Any, list[dict[str, str]]]:
    """Return what is asked: paths, vectors, and the images that could not be read."""
    from featx.cli._sources import are_stores, describe_sources, embed_sources
    from featx.retrieval import InstanceIndex
    from featx.store.info import open_fitting

    thing = f"index {args.index!r}"
    if not args.image:
        return [], None, []
    if isinstance(index, InstanceIndex):
        if are_stores("IMAGE", args.image):
            raise ParameterError(
                f"IMAGE: got the store {args.image[0]!r} for {thing}, which compares images, "
                "expected images; give the folder that the store was made of"
            )
        return describe_sources(as_source(args.image), index)
    if are_stores("IMAGE", args.image):
        if args.rotations != 1:
            raise ParameterError(
                f"--rotations: got {args.rotations} with the store {args.image[0]!r}, expected "
                "images, which can be turned"
            )
        paths, blocks = [], []
        for word in args.image:
            with open_fitting(word, index.recipe_, maker=f"index {args.index}") as store:
                store.require_images()
                paths += store.paths.tolist()
                blocks.append(store[:])
        return paths, np.concatenate(blocks), []
    return embed_sources(
        as_source(args.image),
        index.recipe_,
        index.made_with_,
        args,
        thing=thing,
        rotations=args.rotations,
    )


def _open_index(
    args: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[Any, dict[str, Any]]:
    """Return an index or a database, and how it is asked."""
    from featx.databases import DatabaseIndex, is_database_url
    from featx.extraction import RunOptions
    from featx.retrieval import InstanceIndex, load_index

    if is_database_url(args.index):
        _require_images_alone(args, "a database")
        return stack.enter_context(DatabaseIndex(args.index)), {}
    index = load_index(args.index, mmap=True)
    if isinstance(index, InstanceIndex):
        _require_images_alone(args, "an index of instances")
        return index, {}
    index.set_params(weights=args.weights, device=read_options(args, RunOptions).device)
    return index, {"rerank": args.rerank, "text": args.text, "rotations": args.rotations}


def _require_images_alone(args: argparse.Namespace, kind: str) -> None:
    """Refuse what an index of instances, or a database, cannot be asked."""
    asked = [word for word in args.rerank or () if word != "none"]
    turns = [args.rotations] if args.rotations != 1 else []
    for flag, value in (("--text", args.text), ("--rerank", asked), ("--rotations", turns)):
        if value:
            raise ParameterError(
                f"{flag}: got {value[0]!r}, but {args.index!r} is {kind}, which is asked with "
                "images alone; expected none, or an index that featx index makes without --kind"
            )


def _add_metadata(
    results: list[dict[str, Any]], rows: Any, metadata: dict[str, np.ndarray]
) -> None:
    """Give each match the values that the index has of it, where it has any."""
    if not metadata:
        return
    for result, its_rows in zip(results, rows, strict=True):
        for match, row in zip(result["matches"], its_rows, strict=True):
            match["metadata"] = {name: values[row].item() for name, values in metadata.items()}


def _leave_out_far(results: list[dict[str, Any]], most: float | None) -> None:
    if most is None:
        return
    if math.isnan(most):
        raise ParameterError("--max-distance: got nan, expected a number")
    for result in results:
        result["matches"] = [m for m in result["matches"] if m["distance"] <= most]


def _meaning(words: dict[str, Any]) -> str:
    """Say what words were taken as."""
    first, more = words["names"][:MAX_NAMES], len(words["names"]) - MAX_NAMES
    rest = f" and {more} more" if more > 0 else ""
    return f"({words['text']}: {', '.join(first)}{rest})"


def notes(result: dict[str, Any]) -> list[str]:
    """Name the images that could not be read, and say whether words found anything."""
    lines = list_failures(result["failures"])
    if "probability" in result:
        lines.append(
            f"the best match of {result['results'][0]['query']!r} is unsure: its probability is "
            f"{result['probability']:.2g}, so that it may show something else"
        )
    return lines


def show(result: dict[str, Any]) -> str:
    """Print what words were taken as, and a block per image."""
    lines = [_meaning(one) for one in result.get("text", ()) if one["names"] != [one["text"]]]
    lines += [f"{result['distance']}, image, label:"] if result["results"] else []
    for r in result["results"]:
        lines.append(show_name(r["query"]))
        lines += [
            f"  {m['distance']:.4f}  {show_name(str(m['path']))}  "
            f"{show_name(str(m.get('label', '')))}".rstrip()
            + (f"  ({agreeing})" if (agreeing := describe_agreement(m)) else "")
            for m in r["matches"]
        ]
        lines += [] if r["matches"] else ["  none"]
    return "\n".join(lines)

"""``featx audit``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from featx._repr import show_count
from featx.cli._outputs import PAGE, add_output
from featx.cli._streams import show_name
from featx.cli.options import add_options, add_table

MAX_PRINTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.auditing import audit

    parser.add_argument("store", metavar="F.h5", help="a store, which featx extract wrote")
    parser.add_argument(
        "--labels", metavar="L.csv", help="a CSV with the columns path and label, or one per "
        "attribute (default the store's own labels)"
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="G.h5", help="another store, whose images should not be in this one"
    )
    add_output(
        parser, "--out", "findings", metavar="FINDINGS.csv", help="write a table, which "
        "featx label opens for review"
    )  # fmt: skip
    add_output(parser, "--html", PAGE, metavar="OUT.html", help="write a page with the pictures")
    parser.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="do not look for dark, blurred, blank, tiny or odd pictures",
    )
    texts = {"copy_threshold": "smallest cosine of a near copy"}
    add_options(parser, audit, ("workers",), **texts)
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Look for what is wrong with a collection."""
    from featx.auditing import audit
    from featx.store import open_store

    start = time.monotonic()
    options = {name: getattr(args, name) for name in ("copy_threshold", "workers")
               if hasattr(args, name)}  # fmt: skip
    with open_store(args.store, table=args.table) as store:
        found = audit(store, args.labels, against=args.against, pictures=args.pictures, **options)
    result = {**found.to_dict(), "seconds": time.monotonic() - start}
    if args.out:
        found.save_csv(args.out)
        result["out"] = args.out
    if args.html:
        result["report"] = str(found.to_report().save(args.html))
    return result


def show(result: dict[str, Any]) -> str:
    """Print the estimate, then the worst findings of each kind."""
    from featx.auditing.result import KINDS

    n_findings = show_count(len(result["findings"]), "finding")
    lines = [f"{n_findings} in {show_count(result['n_samples'], 'image')}"]
    if result["interval"] is not None:
        low, high = result["interval"]
        lines.append(
            f"of {result['n_labelled']} images with labels that were judged, about "
            f"{result['estimated_label_errors']} labels are wrong (95 % interval {low} to {high})"
        )
    for kind, count in result["counts"].items():
        lines.append(f"{kind}: {KINDS[kind]}: {count}")
        found = [f for f in result["findings"] if f["kind"] == kind]
        lines += [_show_finding(finding) for finding in found[:MAX_PRINTED]]
        if count > MAX_PRINTED:
            lines.append(f"  ... and {count - MAX_PRINTED} more; --json, --out or --html has all")
    lines += [f"note: {note}" for note in result["notes"]]
    if "out" in result:
        lines.append(
            f"table: {result['out']}; review it: featx label {result['out']} --labels L.csv"
        )
    return "\n".join(lines)


def _show_finding(finding: dict[str, Any]) -> str:
    from featx.auditing.result import show_score

    given, suggested = show_name(finding["given"]), show_name(finding["suggested"])
    what = f" {given or '-'} -> {suggested}" if suggested else f" {given}" if given else ""
    return f"  {show_score(finding['kind'], finding['score'])} {show_name(finding['path'])}{what}"

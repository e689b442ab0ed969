"""The page of an audit: the findings with their pictures."""

from __future__ import annotations

from featx._repr import show_count
from featx.auditing.result import KINDS, PAIRS, Audit, Finding, show_score
from featx.report import Card, Report

__all__ = ["make_page"]

MAX_SHOWN = 60  # of a kind; the CSV and the JSON have all
MAX_LARGE = 60  # findings whose pictures are of 256 px, about 15 kB each
REVIEW = (
    "To correct labels, open the images for labelling and press r. The labels that fit the other "
    "images least then come first:\n\n"
    "    featx label photos.h5 --labels labels.csv\n\n"
    "If folders give the labels, write them to that file before:\n\n"
    "    featx export photos.h5 labels.csv --labels-only\n\n"
    "To see only the images with findings, save these with --out FINDINGS.csv, and open that file:"
    "\n\n    featx label FINDINGS.csv --labels labels.csv\n\n"
    "Your decisions are saved in labels.csv. Pass it as --labels to featx audit, train and "
    "evaluate."
)


def make_page(audit: Audit) -> Report:
    """Lay out headline numbers, then a section for each kind."""
    n = audit.n_samples
    counts = f"{show_count(len(audit.findings), 'finding')} in {show_count(n, 'image')}"
    n_shown = sum(min(count, MAX_SHOWN) for count in audit.counts.values())
    side = 256 if n_shown <= MAX_LARGE else 128
    report = Report("Audit of a collection", subtitle=counts, thumbnail_px=side)
    if audit.estimated_label_errors is not None and audit.interval is not None:
        report.add_scores(
            {
                "labels that are probably wrong": audit.estimated_label_errors,
                "labels that were judged": audit.n_labelled,
            },
            intervals={"labels that are probably wrong": audit.interval},
            title="Estimate of wrong labels, with its 95\u00a0% interval",
        )
    if audit.findings:
        rows = [[KINDS[kind], count] for kind, count in audit.counts.items()]
        report.add_table(rows, ["finding", "images"], title="Findings")
        report.add_text(REVIEW, title="How to correct them")
    else:
        report.add_text("Nothing was found.", title="Findings")
    for kind, count in audit.counts.items():
        found = [finding for finding in audit.findings if finding.kind == kind][:MAX_SHOWN]
        title = f"{KINDS[kind].capitalize()} ({count:,})"
        note = f"The {MAX_SHOWN} worst. FINDINGS.csv has all." if count > MAX_SHOWN else ""
        report.add_cards([_card(finding) for finding in found], title=title, note=note)
    if audit.notes:
        report.add_text("\n\n".join(audit.notes), title="Notes")
    return report


def _card(finding: Finding) -> Card:
    score = f"{finding.score:.2f}"
    label = f"label: {finding.given}" if finding.given else ""
    other = finding.suggested if finding.kind in PAIRS else None
    lines: tuple[str, ...]
    if finding.kind in PAIRS:
        lines = (show_score(finding.kind, finding.score), label)
    elif finding.kind == "label":
        lines = (label, f"suggested: {finding.suggested}", f"probability of an error: {score}")
    elif finding.kind == "classes":
        lines = (f"{finding.given} or {finding.suggested}?", f"confusion: {score} (1 is chance)")
    elif finding.kind == "outlier":
        lines = (f"{finding.score:.1f} times the usual distance", label)
    elif finding.kind == "shape":
        lines = (f"{finding.score:.1f} times as long as wide", label)
    else:
        lines = (finding.suggested or f"score: {score}", label)
    return Card(finding.path, tuple(filter(None, lines)), other=other)

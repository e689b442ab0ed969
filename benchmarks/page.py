"""Draw the figures of this machine as one page, ``benchmarks/results/<machine>.html``.

    python benchmarks/page.py [RESULTS.json]

Sections that have a picture of their own come first; every other figure stands in a table at the
end, so that nothing that was measured is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from common import ROOT, machine

from featx.report import Report, ScatterPoint


def peers(report, name, found):
    """Images a second of each contender, ours first, then from fast to slow."""
    rates = {who: one["images_per_second"] for who, one in found["contenders"].items()}
    order = sorted(rates, key=lambda who: (not who.startswith("featx"), -rates[who]))
    report.add_bars(
        order,
        [rates[who] for who in order],
        title=f"{name}: images per second, {found['n_images']} photographs",
    )
    rows = [
        [who, one["images_per_second"], one["ratio_to_best_peer"], one.get("mean_cosine", "")]
        for who, one in ((who, found["contenders"][who]) for who in order)
    ]
    report.add_table(
        rows,
        ["contender", "images/s", f"to {found['best_peer']}", "mean cosine to the script"],
        title=f"{name}: ratios",
        caption="; ".join(["lost: " + line for line in found["lost"]]) or "nothing lost",
    )


def stages(report, name, found):
    """Each stage alone, and the whole."""
    rates = {key: found[key] for key in ("decode", "network", "ceiling", "end_to_end")}
    report.add_bars(
        [key.replace("_", " ") for key in rates],
        list(rates.values()),
        title=f"{name}: images per second, {found['ratio_to_ceiling']:.2f} of the ceiling; "
        f"writing alone {found['write']:,.0f}",
    )


def engines(report, name, found):
    """Images a second of the network alone."""
    rates = {k: one["images_per_second"] for k, one in found.items() if isinstance(one, dict)}
    report.add_bars(list(rates), list(rates.values()), title=f"{name}: images per second")
    rows = [[who, found[who]["of_chip"]] for who in rates if "of_chip" in found[who]]
    if rows:
        report.add_table(rows, ["engine", "of what the chip multiplies at most"], title=name)


def growth(report, name, found):
    """Time an image and memory over the number of images."""
    sizes = sorted({int(key.split()[0]) for key in found})
    for what, field in (("ms per image", "ms_per_image"), ("peak memory, MiB", "peak_mib")):
        runs = {key.partition(", ")[2] for key in found}
        curves = {
            run: [found[f"{n} images, {run}"][field] for n in sizes]
            for run in sorted(runs)
            if all(f"{n} images, {run}" in found for n in sizes)
        }
        report.add_curve(
            sizes, curves, x_label="images", y_label=what, log_x=True, title=f"{name}: {what}"
        )


def search(report, name, found):
    """Recall against queries per second."""
    points = [
        ScatterPoint(who, one["batch_qps"], one["recall"], None, None, group)
        for group, part in found.items()
        if isinstance(part, dict) and "contenders" in part
        for who, one in part["contenders"].items()
    ]
    report.add_scatter(
        points,
        x_label="queries per second, many at once",
        y_label="recall at 10",
        log_x=True,
        title=name,
    )
    columns = ("batch_qps", "batch_ratio", "single_qps", "single_ratio", "recall", "build_seconds")
    for group, part in found.items():
        if isinstance(part, dict) and "contenders" in part:
            rows = [
                [who, *(one.get(c) for c in columns)] for who, one in part["contenders"].items()
            ]
            report.add_table(
                rows,
                ["contender", *(c.replace("_", " ") for c in columns)],
                title=f"{name}: {group}",
            )


def sweep(report, name, found):
    """Speed over a setting."""
    for setting, one in found.items():
        values = one["values"]
        report.add_curve(
            values,
            {"end to end": one["images_per_second"]},
            x_label=setting.replace("_", " "),
            y_label="images per second",
            log_x=min(values) > 0,
            title=f"{name}: {setting.replace('_', ' ')}",
        )


PICTURES = {
    "peers": peers,
    "stages": stages,
    "engines_network": engines,
    "growth": growth,
    "search": search,
    "sweep": sweep,
}


def flat(value, name=""):
    """Yield the name and value of every figure."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{name}, {key}" if name else key)
    else:
        yield name, value


def draw(path):
    """Write the page of one file of results."""
    found = json.loads(path.read_text())
    about = found.pop("machine")
    report = Report("Measurements", subtitle=about["name"])
    rest = []
    for kind, picture in PICTURES.items():
        for name in [n for n in found if n.startswith(kind)]:
            picture(report, name.replace("_", " "), found[name])
    for name, figures in found.items():
        if not any(name.startswith(kind) for kind in PICTURES):
            rest += [
                [name.replace("_", " "), key.replace("_", " "), value]
                for key, value in flat(figures)
            ]
    report.add_table(
        [[name, key, value if isinstance(value, (int, float)) else json.dumps(value)]
         for name, key, value in rest],
        ["measurement", "figure", "value"],
        title="Everything else",
    )  # fmt: skip
    page = path.with_suffix(".html")
    page.write_text(report.add_key_values(about, title="Machine").to_html())  # the JSON is there
    return page


def main():
    """Draw the results named, or this machine's."""
    named = [Path(word) for word in sys.argv[1:]]
    own = ROOT / "benchmarks" / "results" / f"{machine()['name']}.json"
    for path in named or [own]:
        print(draw(path))


if __name__ == "__main__":
    main()

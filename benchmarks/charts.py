"""Write one learning curve as four pages: ours, by Observable Plot, by Vega-Lite and by Plotly.

    npm install --prefix N @observablehq/plot d3 vega vega-lite plotly.js-basic-dist-min
    python benchmarks/charts.py N/node_modules OUT

Open them, or run axe-core over them; docs/decisions/charts.md has what was found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from featx.report import Report

X = [1, 2, 5, 10, 20]
CURVES = {"network": [0.55, 0.68, 0.8, 0.88, 0.93], "raw pixels": [0.33, 0.41, 0.48, 0.53, 0.56]}
LOW, HIGH = 0.04, 0.03
SHELL = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>curve</title><style>
body { margin: 1rem; font: 1rem system-ui; color: #22282f; background: #fff }
@media (prefers-color-scheme: dark) { body { color: #e4e6e8; background: #1d2126 } }
</style></head><body><main><h1>Accuracy by labels</h1><div id="c" style="width:100%"></div></main>
"""
PLOT = """document.getElementById("c").append(Plot.plot({
  width: Math.min(640, innerWidth - 32), marginRight: 80, y: { label: "accuracy", grid: true },
  x: { type: "log", label: "labels per class", ticks: [1, 2, 5, 10, 20], tickFormat: "d" },
  marks: [
    Plot.areaY(rows, { x: "x", y1: "low", y2: "high", fill: "name", fillOpacity: 0.16 }),
    Plot.line(rows, { x: "x", y: "y", stroke: "name", strokeWidth: 2.5 }),
    Plot.dot(rows, { x: "x", y: "y", fill: "name", tip: true }),
    Plot.text(rows, Plot.selectLast({ x: "x", y: "y", z: "name", text: "name",
      textAnchor: "start", dx: 6 })),
  ] }));"""
VEGA = """const y = { type: "quantitative", title: "accuracy" };
const spec = { data: { values: rows }, width: "container", height: 300, layer: [
  { mark: { type: "area", opacity: 0.16 }, encoding: { y: { field: "low", ...y },
    y2: { field: "high" } } },
  { mark: { type: "line", point: { tooltip: true } }, encoding: { y: { field: "y", ...y } } },
], encoding: { color: { field: "name", type: "nominal" }, x: { field: "x", type: "quantitative",
  scale: { type: "log" }, axis: { values: [1, 2, 5, 10, 20], format: "d" },
  title: "labels per class" } } };
new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: "svg", container: "#c" })
  .runAsync();"""
PLOTLY = """const names = [...new Set(rows.map((row) => row.name))], traces = [];
names.forEach((name, k) => {
  const mine = rows.filter((row) => row.name === name), x = mine.map((row) => row.x);
  const color = ["#1f77b4", "#ff7f0e"][k], hoverinfo = "skip", showlegend = false;
  traces.push({ x, y: mine.map((row) => row.high), mode: "lines", line: { width: 0 }, hoverinfo,
    showlegend });
  traces.push({ x, y: mine.map((row) => row.low), mode: "lines", line: { width: 0 }, hoverinfo,
    showlegend, fill: "tonexty", fillcolor: color + "29" });
  traces.push({ x, y: mine.map((row) => row.y), name, mode: "lines+markers", line: { color } });
});
Plotly.newPlot("c", traces, {
  xaxis: { type: "log", tickvals: [1, 2, 5, 10, 20], title: { text: "labels per class" } },
  yaxis: { title: { text: "accuracy" } } }, { responsive: true });"""
PAGES = {
    "plot": (["d3/dist/d3.min.js", "@observablehq/plot/dist/plot.umd.min.js"], PLOT),
    "vega": (["vega/build/vega.min.js", "vega-lite/build/vega-lite.min.js"], VEGA),
    "plotly": (["plotly.js-basic-dist-min/plotly-basic.min.js"], PLOTLY),
}


def main() -> None:
    """Write the pages and print their bytes."""
    modules, out = map(Path, sys.argv[1:3])
    out.mkdir(exist_ok=True)
    rows = [
        {"x": x, "y": y, "low": y - LOW, "high": y + HIGH, "name": name}
        for name, values in CURVES.items()
        for x, y in zip(X, values, strict=True)
    ]
    for name, (files, draw) in PAGES.items():
        scripts = [
            (modules / file).read_text().replace("</script", "<\\/script") for file in files
        ]
        scripts.append(f"const rows = {json.dumps(rows)};\n{draw}")
        body = "".join(f"<script>{script}</script>\n" for script in scripts)
        (out / f"{name}.html").write_text(SHELL + body + "</body></html>\n")
    spans = {name: [(y - LOW, y + HIGH) for y in values] for name, values in CURVES.items()}
    report = Report("Accuracy by labels")
    report.add_curve(
        X, CURVES, spans, x_label="labels per class", y_label="accuracy", log_x=True, title="Curve"
    ).save(out / "ours.html")
    for page in sorted(out.glob("*.html")):
        print(f"{page.stat().st_size:>9,} bytes {page}")


if __name__ == "__main__":
    main()

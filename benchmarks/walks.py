"""Follow four commands through the code: which modules they enter, in order, and how often.

A module is entered when one of its functions gets the value that is followed (a path, a label, a
feature; by itself, or held by an argument other than self) from another module of featx. The same
function called by the same caller again, as in a loop, counts once. A module that a walk enters
once is a station on a line; one that it keeps coming back to holds several ideas.

``python benchmarks/walks.py OUT.json`` traces the featx that Python imports;
``python benchmarks/walks.py --draw BEFORE.json AFTER.json OUT.svg`` draws two of these.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import io
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

# Leaves: names of files, hashing, messages, progress. Every walk touches them; they lead nowhere.
WIDTH = 1280  # numbers of a feature of featx_small
LEAVES = (
    "errors", "fingerprint", "files", "_files", "_remote", "_outputs", "_repr", "_progress",
    "_values", "_version", "_optional", "_arrays",
)  # fmt: skip


def main() -> None:
    """Trace or draw, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--draw", action="store_true")
    arguments = parser.parse_args()
    if arguments.draw:
        before, after, out = arguments.files
        out.write_text(draw(json.loads(before.read_text()), json.loads(after.read_text())))
        return
    arguments.files[0].write_text(json.dumps(trace_all(), indent=1) + "\n")


def trace_all() -> dict[str, list[tuple[str, int]]]:
    """Return the modules of each walk with their numbers of entries, in order of first entry."""
    from PIL import Image

    folder = Path(tempfile.mkdtemp())
    for k, color in enumerate(["red", "blue"] * 6):
        path = folder / "photos" / color / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), color).resize((64 + k, 48)).save(path)
    one = folder / "one"
    one.mkdir()
    os.link(folder / "photos" / "red" / "0.png", one / "0.png")
    store, index = str(folder / "f.h5"), str(folder / "index")
    image, page = str(one / "0.png"), str(folder / "page.html")
    labels = folder / "labels.csv"
    lines = [f"{p},{p.parent.name}" for p in sorted((folder / "photos").rglob("*.png"))]
    labels.write_text("path,label\n" + "\n".join(lines) + "\n")
    run("extract", str(folder / "photos"), "--store", store)
    run("index", store, "--out", index)
    return {
        "an image path from extract to its row": trace(
            [str(one), image], "extract", str(one), "--store", str(folder / "one.h5")
        ),
        "a query from its image to its matches": trace([image, WIDTH], "query", index, image),
        "a label from its file to a saved model": trace(
            [str(labels), "red"],
            "train", store, "--labels", str(labels), "--out", str(folder / "model"),
        ),
        "a feature from the store to a page": trace(
            [store, WIDTH, page], "duplicates", store, "--html", page
        ),
    }  # fmt: skip


def run(*arguments: str) -> None:
    """Run a command and swallow what it prints."""
    from featx.cli.main import main as featx

    with contextlib.redirect_stdout(io.StringIO()):
        status = featx([*arguments, "--json"])
    if status:
        raise SystemExit(f"featx {' '.join(arguments)}: exit status {status}")


def trace(wanted: list[Any], *arguments: str) -> list[tuple[str, int]]:
    """Return the modules that values enter in a command, with the number of entries of each."""
    import featx

    root = os.path.dirname(os.path.abspath(featx.__file__)) + os.sep  # noqa: PTH100, PTH120
    doors: dict[str, set[tuple[str, str]]] = {}

    def place_of(frame: FrameType | None) -> tuple[str, str] | None:
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(root) and code.co_filename.endswith(".py"):
                module = code.co_filename[len(root) :].removesuffix(".py").replace(os.sep, ".")
                return module, code.co_qualname
            frame = frame.f_back
        return None

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(root):
            return
        if code.co_name == "__getattr__" or code.co_name.startswith("<"):
            return
        here, caller = place_of(frame), place_of(frame.f_back) or ("", "")
        if here is None or here[0] == caller[0] or is_leaf(here[0]):
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = [frame.f_locals.get(name) for name in names if name not in ("self", "cls")]
        if any(holds(value, wanted) for value in given):
            doors.setdefault(here[0], set()).add((".".join(caller), here[1]))

    with profiling(note):
        run(*arguments)
    return [(module, len(pairs)) for module, pairs in doors.items()]


def holds(value: Any, wanted: list[Any], depth: int = 3) -> bool:
    """Tell whether a value is one of those followed, or holds one."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value) in wanted
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return bool(shape) and WIDTH in wanted and shape[-1] == WIDTH
    if not depth:
        return False
    if isinstance(value, dict):
        inside = [*value, *value.values()]
    elif isinstance(value, list | tuple | set):
        inside = list(value)
    else:
        inside = list(getattr(value, "__dict__", {}).values())
    return any(holds(item, wanted, depth - 1) for item in inside[:50])


@contextlib.contextmanager
def profiling(note: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    """Call `note` at each call in every thread."""
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def is_leaf(module: str) -> bool:
    """Tell whether a module belongs to the leaves."""
    return module.split(".")[0] in LEAVES or module == "__init__"


ROW, BAR, NAME = 15, 70, 190


def draw(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return an SVG: for each walk two columns, before and after, one row for each module."""
    column = NAME + BAR + 50
    parts: list[str] = []
    y = 24
    for walk in after:
        pair = [before.get(walk, []), after[walk]]
        parts.append(text(8, y, walk, "w"))
        y += 20
        for k, (name, modules) in enumerate(zip(("before", "after"), pair, strict=True)):
            x = 8 + k * column
            n = sum(count for _, count in modules)
            parts.append(text(x, y, f"{name}: {len(modules)} modules, entered {n} times", "s"))
            for i, (module, count) in enumerate(modules):
                line = y + 16 + i * ROW
                width = min(BAR, 3 * count)
                parts.append(text(x, line, module, "m"))
                parts.append(
                    f'<rect x="{x + NAME}" y="{line - 8}" width="{width}" height="8" class="b"/>'
                )
                parts.append(text(x + NAME + width + 4, line, str(count), "m"))
        y += 40 + ROW * max(map(len, pair))
    style = (
        "text{font:11px sans-serif;fill:#24292f}.w{font-size:14px;font-weight:600}"
        ".s{fill:#57606a}.m{font-size:10px}.b{fill:#2f6fb3}.g{fill:#ffffff}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * column + 16} {y}">'
        f'<style>{style}</style><rect class="g" width="100%" height="100%"/>'
        f"{''.join(parts)}</svg>\n"
    )


def text(x: int, y: int, words: str, kind: str) -> str:
    """Return one line of text."""
    return f'<text x="{x}" y="{y}" class="{kind}">{html.escape(words)}</text>'


if __name__ == "__main__":
    main()

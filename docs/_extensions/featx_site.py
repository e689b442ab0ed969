"""What the site needs beside Sphinx's own: the command reference, pictures, bars of progress."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# A line of a bar of progress that another state of the same bar follows.
EARLIER_STATE = re.compile(r"^([\w ]+: ).*\|.*\n(?=\1)", re.MULTILINE)

EXAMPLE = re.compile(r"\]\(\.\./examples/(\w+)\.py\)")


class Commands(SphinxDirective):
    """A section for each command of featx, made from its parser as ``--help`` is."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        from featx.cli.main import build_parser

        return [_section(name, parser) for name, parser in _commands(build_parser())]


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _section(name: str, parser: argparse.ArgumentParser) -> nodes.section:
    """Describe one command: what it does, how it is called, its options by group."""
    formatter = parser._get_formatter()
    usage = parser.format_usage().removeprefix("usage: ").rstrip()
    section = nodes.section(ids=[f"command-{name}"], names=[f"featx {name}"])
    section += nodes.title(text=f"featx {name}")
    section += nodes.paragraph(text=parser.description or "")
    section += nodes.literal_block(usage, usage, language="none")
    for group in parser._action_groups:
        options = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
        if not options:
            continue
        section += nodes.rubric(text=(group.title or "options").capitalize())
        if group.description:
            section += nodes.paragraph(text=group.description)
        entries = nodes.definition_list()
        for option in options:
            called = formatter._format_action_invocation(option)
            meaning = formatter._expand_help(option) if option.help else ""
            entries += nodes.definition_list_item(
                "",
                nodes.term("", "", nodes.literal(text=called)),
                nodes.definition("", nodes.paragraph(text=meaning)),
            )
        section += entries
    return section


def scrape_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures of an example that pyplot does not know, as `Matches.plot` makes them."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    paths = []
    for value in block_vars["example_globals"].values():
        if isinstance(value, Figure) and not hasattr(value, "number"):
            value.number = -1  # shown: a figure is one picture, below the block that made it
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1])
    return figure_rst(paths, gallery_conf["src_dir"])


def tidy_blocks(_: Sphinx, document: nodes.document) -> None:
    """Leave of each bar in a notebook's output its last line, and drop empty lines at the end."""
    for block in document.findall(nodes.literal_block):
        is_output = block.get("language") == "myst-ansi"
        if is_output or block.rawsource == block.astext():  # else it has parts, such as links
            text = EARLIER_STATE.sub("", block.astext()) if is_output else block.rawsource
            block.rawsource = text.rstrip("\n")
            block[:] = [nodes.Text(block.rawsource)]


def link_gallery(_: Sphinx, __: str, source: list[str]) -> None:
    """Link to an example's page in the gallery, where a checkout has its script."""
    source[0] = EXAMPLE.sub(r"](gallery/\1.rst)", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive, and what is done to pages."""
    app.add_directive("featx-commands", Commands)
    app.connect("source-read", link_gallery)
    app.connect("doctree-read", tidy_blocks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Draws flow charts that pages write in mermaid with Graphviz: nothing comes from the net."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from docutils import nodes
from sphinx.ext.graphviz import graphviz
from sphinx.transforms import SphinxTransform

_NODE = re.compile(r'(\w+)(?:\["([^"]*)"\])?')
_EDGE = re.compile(r'^(.+?) -->(?:\|"?([^|"]*)"?\|)? (.+)$')
_HEAD = """digraph {
  bgcolor=transparent; fontname="sans-serif"; nodesep=0.3; ranksep=0.35;
  node [shape=box style="rounded,filled" fillcolor="#f4f4f6" fontname="sans-serif" fontsize=11];
  edge [color="#707078" fontcolor="#707078" fontname="sans-serif" fontsize=10];
"""


def _wrapped(label: str, width: int = 34) -> str:
    """Return a label in lines, as Graphviz writes them."""
    return "\\n".join(textwrap.wrap(label, width))


def to_dot(chart: str) -> str:
    """Return a mermaid flow chart of nodes, edges and subgraphs in Graphviz's language."""
    lines = [_HEAD]

    def node(text: str) -> str:
        name, label = _NODE.fullmatch(text.strip()).groups()
        if label:
            lines.append(f'  {name} [label="{_wrapped(label)}"];')
        return name

    for line in map(str.strip, chart.strip().split("\n")[1:]):
        if line.startswith("subgraph "):
            name, label = _NODE.fullmatch(line.removeprefix("subgraph ")).groups()
            lines.append(
                f'  subgraph cluster_{name} {{ label="{label}"; color="#b0b0b8"; '
                'fontcolor="#707078"; fontsize=11; style=rounded;'
            )
        elif line == "end":
            lines.append("  }")
        elif edge := _EDGE.match(line):
            start, label, end = edge.groups()
            lines.append(f'  {node(start)} -> {node(end)} [label="{label or ""}"];')
        elif line:
            node(line)
    return "\n".join([*lines, "}"])


class Flowcharts(SphinxTransform):
    """Puts a drawing in the place of each block of mermaid code."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Replace the blocks of one page."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                drawing = graphviz(code=to_dot(block.astext()), options={})
                block.replace_self(drawing)


def setup(app: Any) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(Flowcharts)
    return {"parallel_read_safe": True}

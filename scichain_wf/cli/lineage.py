"""`scichain-wf lineage FILE`: what a file was made from, or what was made from it, as a tree, DOT or JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import escaped, say, say_json

if TYPE_CHECKING:
    from scichain_wf.audit.lineage import Artifact, Lineage, Step

_LINES_MAX: Final = 1_000
_DIGITS: Final = 12


@click.command(epilog="Example: scichain-wf lineage results/plot.pdf --up")
@click.argument("file")
@click.option("--up/--down", default=True, show_default=True, help="What it was made from, or what was made from it.")
@click.option("--dot", is_flag=True, help="Print a graph for Graphviz.")
@chain_option
@json_option
def command(*, file: str, up: bool, dot: bool, chain: Path | None, as_json: bool) -> None:
    """Follow FILE through all recorded runs and engines, by content.

    FILE is a path or an artifact's URI, of which the newest record counts. Nothing is verified: `verify` does that.
    """
    from scichain_wf.audit.lineage import lineage

    found = lineage(find_chain(chain, file), file, up=up)
    if as_json:
        say_json(found.to_json())
    elif dot:
        for line in _dot(found):
            say(line)
    else:
        for number, line in enumerate(_tree(found)):
            if number == _LINES_MAX:
                say(f"… cut after {_LINES_MAX} lines; --json has all {len(found.steps)} tasks")
                break
            say(line)


def _tree(found: Lineage) -> Iterator[str]:
    """Indented lines; what was shown before is not unfolded again."""
    from scichain_wf.audit.lineage import Step

    up = found.direction == "up"
    makers: dict[Artifact, list[Step]] = defaultdict(list)
    for step in found.steps:
        for artifact in step.outputs if up else step.inputs:
            makers[artifact].append(step)
    for read, recorded in found.same:
        near, far = (read, recorded) if up else (recorded, read)
        makers[near] += [step for step in makers[far] if step not in makers[near]]
    also = dict(found.same)
    shown: set[tuple[int, int]] = set()
    stack: list[tuple[str, str, Artifact | Step]] = [("", "", found.artifact)]
    while stack:
        lead, inner, item = stack.pop()
        if isinstance(item, Step):
            again = (item.height, item.transaction) in shown
            shown.add((item.height, item.transaction))
            yield f"{lead}{item.task}  ({item.engine}, run {item.run[:12]}, link {item.height})" + " …" * again
            below: list[Artifact | Step] = [] if again else list(item.inputs if up else item.outputs)
        else:
            below = list(makers.get(item, ()))
            digest = f"sha256:{item.digest[:_DIGITS]}…" if item.digest else "not hashed"
            same = f"  same content as {also[item].uri}" if item in also else ""
            yield f"{lead}{item.uri}  {digest}{same}" + ("" if below or not up else "  (source)")
        for number, next_ in enumerate(reversed(below)):
            stack.append((inner + ("├─ " if number else "└─ "), inner + ("│  " if number else "   "), next_))


def _dot(found: Lineage) -> Iterator[str]:
    """A graph from what was read to what was made, whichever way it was walked."""
    places: dict[Artifact, str] = {}
    yield "digraph lineage {"
    yield "  rankdir=LR; node [fontname=sans];"
    lines = []
    for number, step in enumerate(found.steps):
        lines.append(f"  t{number} [shape=box, label={_quoted(step.task)}];")
        for artifact in (*step.inputs, *step.outputs):
            places.setdefault(artifact, f"a{len(places)}")
        lines += [f"  {places[artifact]} -> t{number};" for artifact in step.inputs]
        lines += [f"  t{number} -> {places[artifact]};" for artifact in step.outputs]
    for read, recorded in found.same:
        near, far = (places.setdefault(artifact, f"a{len(places)}") for artifact in (recorded, read))
        lines.append(f"  {near} -> {far} [style=dashed];")
    places.setdefault(found.artifact, f"a{len(places)}")
    yield from (f"  {place} [label={_quoted(artifact.uri)}];" for artifact, place in places.items())
    yield from lines
    yield "}"


def _quoted(text: str) -> str:
    shown = escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}"'

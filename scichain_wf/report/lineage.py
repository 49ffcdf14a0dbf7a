"""The graph of rules and apps, laid out here and drawn as SVG: a thousand boxes are there at once, without a script."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Final

from scichain_wf.audit.account import Account
from scichain_wf.report.markup import Html, count, el, join, scrolled, table

GROUPS_DRAWN_MAX: Final = 200
_BOX_W, _BOX_H, _GAP_X, _GAP_Y = 190, 46, 70, 18
_NAME_CHARS: Final = 24
_SWEEPS: Final = 6

Edge = tuple[int, int]


def lineage(account: Account) -> Html:
    """The drawing, and the same as a table."""
    drawn = sorted(range(len(account.groups)), key=lambda group: -account.groups[group].tasks)[:GROUPS_DRAWN_MAX]
    flows = {(flow.maker, flow.reader): flow.artifacts for flow in account.flows}
    edges = [edge for edge in flows if edge[0] != edge[1] and set(edge) <= set(drawn)]
    layers, routes = layered(sorted(drawn), edges)
    places = {node: (x, y) for x, layer in enumerate(layers) for y, node in enumerate(layer)}
    height = max((len(layer) for layer in layers), default=1) * (_BOX_H + _GAP_Y) + _GAP_Y
    width = len(layers) * (_BOX_W + _GAP_X) + _GAP_X // 2
    corners = {node: _corner(layers, place, height) for node, place in places.items()}
    lines = join(_line([corners[node] for node in routes[edge]], edge, flows[edge]) for edge in edges)
    boxes = join(_box(account, node, *corners[node], flows.get((node, node), 0)) for node in drawn)
    hidden = len(account.groups) - len(drawn)
    note = el("p", f"The {GROUPS_DRAWN_MAX} largest are drawn, {hidden} are not.") if hidden else ""
    title = f"{len(drawn)} rules and apps in {len(layers)} steps, each with arrows to those that read what it made"
    arrow = el(
        "marker",
        el("path", d="M0 0L8 4L0 8z"),
        id="arrow",
        viewBox="0 0 8 8",
        refX="8",
        refY="4",
        markerWidth="7",
        markerHeight="7",
        orient="auto",
        cls="tip",
    )
    drawing = el(
        "svg",
        el("title", title),
        el("defs", arrow),
        lines,
        boxes,
        id="graph",
        role="img",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
    )
    rows = [
        (account.groups[flow.maker].name, account.groups[flow.reader].name, count(flow.artifacts))
        for flow in sorted(account.flows, key=lambda flow: -flow.artifacts)[:GROUPS_DRAWN_MAX]
    ]
    listed = el(
        "details",
        el("summary", "The same as a table"),
        table(("Made by", "Read by", "Artifacts"), rows, "Artifacts from rule to rule", (2,)),
    )
    return join((note, scrolled(drawing, "Lineage graph", "scroll drawing"), listed))


def layered(nodes: list[int], edges: list[Edge]) -> tuple[list[list[int]], dict[Edge, list[int]]]:
    """Nodes in layers, so that every edge but those that close a cycle leads to a later one, with few crossings.

    Returns:
        The layers, and for each edge the places it goes through. Edges that skip layers have places of their own there:
        negative numbers.
    """
    forward = sorted(set(_without_cycles(nodes, edges).values()))
    rank = dict.fromkeys(nodes, 0)
    waiting, following, before = [], defaultdict(list), dict.fromkeys(nodes, 0)
    for start, end in forward:
        following[start].append(end)
        before[end] += 1
    waiting = [node for node in nodes if not before[node]]
    for node in waiting:
        for after in following[node]:
            rank[after] = max(rank[after], rank[node] + 1)
            before[after] -= 1
            if not before[after]:
                waiting.append(after)
    layers: list[list[int]] = [[] for _ in range(max(rank.values(), default=0) + 1)]
    for node in waiting:
        layers[rank[node]].append(node)
    routes: dict[Edge, list[int]] = {}
    for number, (start, end) in enumerate(forward):
        chain = [start, *(-1 - number * len(layers) - at for at in range(rank[start] + 1, rank[end])), end]
        for at, place in enumerate(chain[1:-1], rank[start] + 1):
            layers[at].append(place)
        routes[start, end], routes[end, start] = chain, chain[::-1]
    _untangle(layers, [pair for edge in forward for pair in pairwise(routes[edge])])
    return layers, routes


def _without_cycles(nodes: list[int], edges: list[Edge]) -> dict[Edge, Edge]:
    """Each edge with itself, or turned round where it leads back to where a walk came from."""
    following: defaultdict[int, list[int]] = defaultdict(list)
    for start, end in edges:
        following[start].append(end)
    state: dict[int, int] = {}
    turned: set[Edge] = set()
    for root in nodes:
        stack = [(root, iter(following[root]))] if root not in state else []
        state.setdefault(root, 1)
        while stack:
            node, rest = stack[-1]
            after = next(rest, None)
            if after is None:
                state[node] = 2
                stack.pop()
            elif after not in state:
                state[after] = 1
                stack.append((after, iter(following[after])))
            elif state[after] == 1:
                turned.add((node, after))
    return {edge: edge[::-1] if edge in turned else edge for edge in edges}


def _untangle(layers: list[list[int]], edges: list[Edge]) -> None:
    """Have each layer ordered by the mean place of its neighbours, forth and back a few times."""
    left: defaultdict[int, list[int]] = defaultdict(list)
    right: defaultdict[int, list[int]] = defaultdict(list)
    for start, end in edges:
        left[end].append(start)
        right[start].append(end)
    place = {node: at / len(layer) for layer in layers for at, node in enumerate(layer)}
    for sweep in range(_SWEEPS):
        neighbours = right if sweep % 2 else left
        for layer in reversed(layers) if sweep % 2 else layers:
            wanted = {
                node: sum(place[n] for n in neighbours[node]) / len(neighbours[node])
                if neighbours[node]
                else place[node]
                for node in layer
            }
            layer.sort(key=lambda node, wanted=wanted: (wanted[node], node))  # type: ignore[misc]
            for at, node in enumerate(layer):
                place[node] = (at + 0.5) / len(layer)


def _corner(layers: list[list[int]], place: tuple[int, int], height: int) -> tuple[float, float]:
    layer, at = place
    used = len(layers[layer]) * (_BOX_H + _GAP_Y) - _GAP_Y
    return layer * (_BOX_W + _GAP_X) + _GAP_X / 4, (height - used) / 2 + at * (_BOX_H + _GAP_Y)


def _line(corners: list[tuple[float, float]], edge: Edge, artifacts: int) -> Html:
    """A curve from box to box, through its places between them; one that closes a cycle runs from right to left."""
    if corners[0][0] <= corners[-1][0]:
        ends = [(x, x + _BOX_W, y + _BOX_H / 2) for x, y in corners]
    else:
        ends = [(x + _BOX_W, x, y + _BOX_H / 2) for x, y in corners]
    (_, last_x, last_y), parts = ends[0], [f"M{ends[0][1]:.0f} {ends[0][2]:.0f}"]
    for near, far, y in ends[1:]:
        bend = (near - last_x) / 2
        parts.append(f"C{last_x + bend:.0f} {last_y:.0f} {near - bend:.0f} {y:.0f} {near:.0f} {y:.0f}")
        if (near, far, y) != ends[-1]:
            parts.append(f"H{far:.0f}")
        last_x, last_y = far, y
    said = el("title", f"{count(artifacts)} artifacts")
    return el("path", said, d="".join(parts), cls="edge", data_edge=f"{edge[0]} {edge[1]}", marker_end="url(#arrow)")


def _box(account: Account, node: int, x: float, y: float, loops: int) -> Html:
    group = account.groups[node]
    name = group.name if len(group.name) <= _NAME_CHARS else group.name[: _NAME_CHARS - 1] + "…"
    said = f"{count(group.tasks)} task{'s' * (group.tasks != 1)}" + (
        f", {count(group.failed)} failed" * bool(group.failed)
    )
    return el(
        "g",
        el(
            "title",
            f"{group.name}: {said}" + (f"; {count(loops)} artifacts go from one task of it to another" * bool(loops)),
        ),
        el("rect", x=0, y=0, width=_BOX_W, height=_BOX_H, rx=8),
        el("text", name, x=14, y=20, cls="name"),
        el("text", said + (" ↻" if loops else ""), x=14, y=36, cls="sub"),
        cls="box failed" if group.failed else "box",
        data_group=node,
        transform=f"translate({x:.0f} {y:.0f})",
    )

"""Timeline per node and the matrix of who judged whom, as SVG with the same in words beside it."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from scichain_wf.audit.account import Account, Agreement, TaskFacts
from scichain_wf.report.markup import Html, count, el, join, lasting, scrolled, table

_RUNS_DRAWN_MAX: Final = 5
_LANES_MAX: Final = 40
_BARS_MAX: Final = 1_500
"""More tasks of a run are drawn as how many run at a time."""
_BINS: Final = 240
_WIDTH, _LABEL, _ROW, _LANE_ROWS_MAX = 1_040, 150, 9, 24
_SLOTS_DRAWN_MAX: Final = 48


def timeline(account: Account) -> Html:
    """One drawing per run (the newest ones), and a table of nodes."""
    by_run: defaultdict[int, list[TaskFacts]] = defaultdict(list)
    for task in account.tasks:
        by_run[task.run].append(task)
    drawn = sorted(by_run)[-_RUNS_DRAWN_MAX:]
    parts = [_run(account.runs[run].run, by_run[run]) for run in reversed(drawn)]
    if len(by_run) > len(drawn):
        parts.append(el("p", f"The newest {len(drawn)} of {len(by_run)} runs are drawn."))
    nodes: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0, 0.0])
    for task in account.tasks:
        sums = nodes[task.node]
        sums[0] += 1
        sums[1] += task.status not in ("ok", "cached", "touched")
        sums[2] += max(0, task.ended_us - task.started_us) / 1e6
        sums[3] += max(0, task.recorded_us - task.ended_us) / 1e6
    rows = [
        (
            node,
            count(int(tasks)),
            count(int(failed)),
            lasting(spent),
            lasting(after),
            f"{100 * after / spent:.2f} %" if spent else "",
        )
        for node, (tasks, failed, spent, after) in sorted(nodes.items())
    ]
    parts.append(
        table(
            ("Node", "Tasks", "Not ok", "Task time", "Recording after", "Overhead"),
            rows,
            "Nodes: recording after a task's end, in per cent of its own time",
            (1, 2, 3, 4, 5),
        )
    )
    return join(parts)


def _run(run: str, tasks: list[TaskFacts]) -> Html:
    begin = min(task.started_us for task in tasks)
    span = max(1, max(task.ended_us for task in tasks) - begin)
    lanes: defaultdict[str, list[TaskFacts]] = defaultdict(list)
    for task in tasks:
        lanes[task.node].append(task)
    y, parts, names = 24, [_axis(span / 1e6)], sorted(lanes)
    for node in names[:_LANES_MAX]:
        draw = _bars if len(tasks) <= _BARS_MAX else _crowd
        drawing, height = draw(lanes[node], begin, span)
        label = node if len(node) <= 20 else node[:19] + "…"
        parts.append(
            el(
                "g",
                el("title", node),
                el("text", label, x=0, y=height / 2 + 5, cls="name"),
                drawing,
                el("line", x1=0, x2=_WIDTH, y1=height + 4, y2=height + 4, cls="rule"),
                transform=f"translate(0 {y})",
            )
        )
        y += height + 10
    title = f"Run {run[:12]}: {count(len(tasks))} tasks on {len(lanes)} nodes in {lasting(span / 1e6)}"
    if len(names) > _LANES_MAX:
        title += f"; {_LANES_MAX} nodes are drawn"
    drawing = el(
        "svg",
        el("title", title),
        *parts,
        role="img",
        width=_WIDTH,
        height=y,
        viewBox=f"0 0 {_WIDTH} {y}",
        cls="timeline",
    )
    return join((el("h3", title), scrolled(drawing, f"Timeline of run {run[:12]}", "scroll drawing")))


def _axis(seconds: float) -> Html:
    ticks = 6
    parts = []
    for tick in range(ticks + 1):
        x = _LABEL + tick * (_WIDTH - _LABEL - 60) / ticks
        parts += [
            el("text", lasting(seconds * tick / ticks, seconds) if tick else "0", x=f"{x:.0f}", y=12, cls="sub"),
            el("line", x1=f"{x:.0f}", x2=f"{x:.0f}", y1=16, y2=4_000, cls="rule"),
        ]
    return el("g", *parts)


def _bars(tasks: list[TaskFacts], begin: int, span: int) -> tuple[Html, int]:
    """One bar per task, in as many rows as run at a time."""
    rows: list[float] = []
    bars = []
    scale = (_WIDTH - _LABEL - 60) / span
    for task in sorted(tasks, key=lambda task: task.started_us):
        x = _LABEL + (task.started_us - begin) * scale
        width = max(1.5, (task.ended_us - task.started_us) * scale)
        row = next((at for at, free in enumerate(rows) if free <= x), len(rows))
        if row == len(rows) and row < _LANE_ROWS_MAX:
            rows.append(0.0)
        row = min(row, len(rows) - 1)
        rows[row] = x + width + 0.5
        said = f"{task.task}: {task.status}, {lasting(max(0, task.ended_us - task.started_us) / 1e6)}"
        kind = "bar" if task.status in ("ok", "cached", "touched") else "bar failed"
        bars.append(
            el("rect", el("title", said), x=f"{x:.1f}", y=row * _ROW, width=f"{width:.1f}", height=_ROW - 2, cls=kind)
        )
    return join(bars), max(len(rows), 2) * _ROW


def _crowd(tasks: list[TaskFacts], begin: int, span: int) -> tuple[Html, int]:
    """How many run at a time, as an area; failed ones as ticks below it."""
    changes, failed = [0] * (_BINS + 1), set()
    for task in tasks:
        first, last = ((at - begin) * _BINS // span for at in (task.started_us, task.ended_us))
        changes[min(max(first, 0), _BINS - 1)] += 1
        changes[min(max(last, first), _BINS - 1) + 1] -= 1
        if task.status not in ("ok", "cached", "touched"):
            failed.add(min(max(first, 0), _BINS - 1))
    height, step, running, levels = 44, (_WIDTH - _LABEL - 60) / _BINS, 0, []
    for change in changes[:-1]:
        running += change
        levels.append(running)
    top = max(1, *levels)
    points = "".join(
        f"L{_LABEL + at * step:.1f} {height - level / top * (height - 4):.1f}h{step:.1f}"
        for at, level in enumerate(levels)
    )
    area = el(
        "path",
        el("title", f"at most {count(top)} tasks at a time"),
        d=f"M{_LABEL} {height}{points}V{height}z",
        cls="crowd",
    )
    ticks = (
        el("rect", x=f"{_LABEL + at * step:.1f}", y=height - 4, width=f"{step:.1f}", height=4, cls="bar failed")
        for at in sorted(failed)
    )
    peak = el("text", f"{count(top)} at a time", x=_WIDTH - 55, y=12, cls="sub")
    return join((area, *ticks, peak)), height


def agreement(account: Account) -> Html:
    """Who judged whose blocks how, and what each slot has made and missed."""
    slots = [slot.slot for slot in account.slots][:_SLOTS_DRAWN_MAX]
    if not slots:
        return el("p", "No slot has made or judged a block: everything was taken in by the storage node.")
    known = {(item.maker, item.judge): item for item in account.agreement}
    made = {slot.slot: slot.credit for slot in account.slots}
    side = 34 if len(slots) <= 16 else 18
    cells = []
    for row, maker in enumerate(slots):
        cells.append(el("text", f"slot {maker}", x=58, y=28 + row * side + side / 2 + 4, cls="sub end"))
        cells += [
            _cell(known.get((maker, judge)), made[maker], 66 + column * side, 28 + row * side, side)
            for column, judge in enumerate(slots)
        ]
    cells += [
        el("text", judge, x=66 + column * side + side / 2, y=20, cls="sub mid") for column, judge in enumerate(slots)
    ]
    width, height = 76 + len(slots) * side, 38 + len(slots) * side
    title = "Rows: whose blocks. Columns: who judged them. The stronger, the more of the blocks cite a VALID of it."
    drawing = el(
        "svg",
        el("title", title),
        *cells,
        role="img",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        cls="matrix",
    )
    rows = [
        (
            slot.slot,
            slot.host,
            count(slot.credit),
            count(slot.transactions),
            f"{100 * slot.poet / slot.credit:.0f} %" if slot.credit else "",
            count(slot.verdicts),
            slot.head if slot.head >= 0 else "",
            f"{slot.lag_sum / slot.verdicts:.1f}" if slot.verdicts else "",
            slot.diverged,
        )
        for slot in account.slots
    ]
    listed = table(
        ("Slot", "Host", "Credit", "Records", "POET", "Verdicts", "Head", "Mean lag", "Diverged"),
        rows,
        "Slots: credit counts appended blocks, lag counts links",
        (0, 2, 3, 4, 5, 6, 7, 8),
    )
    return join((el("p", title), scrolled(drawing, "Agreement matrix", "scroll drawing"), listed))


def _cell(item: Agreement | None, made: int, x: int, y: int, side: int) -> Html:
    shown = {"x": x, "y": y, "width": side - 2, "height": side - 2, "rx": 3}
    if item is None:
        return el("rect", el("title", "no verdict cited"), **shown, cls="cell a0")
    cited = item.valid + item.invalid + item.unknown
    share = min(4, 1 + 3 * item.valid // max(1, made, cited))
    verdicts = f"{item.valid} VALID, {item.invalid} INVALID, {item.unknown} UNKNOWN"
    said = f"slot {item.judge} on blocks of slot {item.maker}: {verdicts}"
    number = f"✕{item.invalid}" if item.invalid else count(item.valid)
    label = (
        el("text", number, x=x + side / 2 - 1, y=y + side / 2 + 4, cls=f"in a{share}")
        if side > 20 and len(number) < 5
        else ""
    )
    return el("g", el("title", said), el("rect", **shown, cls=f"cell a{share}{' bad' * bool(item.invalid)}"), label)

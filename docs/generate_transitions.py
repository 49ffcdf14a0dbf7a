"""Write docs/reference/block-states.md and its diagram from the one table of transitions in the consensus core.

`python docs/generate_transitions.py` writes both; with `--check` it writes nothing and exits 1 where one is stale.

The diagram has a line for each state and an arrow for each transition, side by side, so that nothing ever crosses a
name, whatever the table says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from scichain_wf.consensus.proposer import TRANSITIONS, Move, State

DIRECTORY: Final = Path(__file__).parent / "reference"
PAGE: Final = "block-states.md"
DIAGRAM: Final = "block-states.svg"

# A transition without words here cannot be drawn: whoever adds one says when it happens.
WHEN: Final[dict[tuple[State, Move], str]] = {
    (State.DRAFT, Move.SOLVE): "the block is signed and its puzzle solved, or it has none",
    (State.MINED, Move.PROPOSE): "it is sent to every slot",
    (State.PROPOSED, Move.PROPOSE): "another epoch is in force: its slots judge the same block afresh",
    (State.PROPOSED, Move.CERTIFY): "q slots said VALID: a quorum certificate, pushed to storage",
    (State.PROPOSED, Move.EXTEND): "q can no longer be reached, or the time is up: storage is asked (POET)",
    (State.PROPOSED, Move.COMMIT): "it was linked already",
    (State.CERTIFIED, Move.COMMIT): "storage linked it, and the link is durable",
    (State.CERTIFIED, Move.AGAIN): "storage found votes that do not hold: those of their slots count no more",
    (State.CERTIFIED, Move.EXTEND): "storage found such votes again and again",
    (State.CERTIFIED, Move.PARK): "storage is busy or not reachable, or knows a newer epoch",
    (State.CERTIFIED, Move.REJECT): "it can never be linked; its transactions are drafted anew",
    (State.EXTENDING, Move.COMMIT): "storage judged it and linked it, and the link is durable",
    (State.EXTENDING, Move.PARK): "storage is busy or not reachable, or wants more slots to agree",
    (State.EXTENDING, Move.REJECT): "it can never be linked; its transactions are drafted anew",
    (State.PARKED, Move.PROPOSE): "another epoch came into force while it waited",
    (State.PARKED, Move.CERTIFY): "the pause is over and q slots said VALID: the same block again",
    (State.PARKED, Move.EXTEND): "the pause is over and they did not: the same block again",
    (State.PARKED, Move.COMMIT): "it was linked while it waited",
    (State.PARKED, Move.REJECT): "its key was replaced while it waited; its transactions are drafted anew",
}

_ROW, _COLUMN, _LEFT, _TOP = 44, 50, 118, 84
_STYLE: Final = (
    "text{font:13px sans-serif;fill:#444}.state{font-weight:bold}.line{stroke:#999}"
    ".arrow{stroke:#2f6fb3;stroke-width:2;fill:none}.head{fill:#2f6fb3}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.line{stroke:#777}.arrow{stroke:#7db3ea}.head{fill:#7db3ea}}"
)


def transitions() -> list[tuple[State, Move, State]]:
    """Every transition, in the table's order."""
    return [(before, move, after) for before, moves in TRANSITIONS.items() for move, after in moves.items()]


def diagram() -> str:
    """The picture, as a self-contained SVG."""
    rows = {state: _TOP + _ROW * index for index, state in enumerate(TRANSITIONS)}
    width, height = _LEFT + _COLUMN * len(transitions()) + 20, _TOP + _ROW * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>States of a block at its proposer</title>",
        f"<style>{_STYLE}</style>",
    ]
    for state, y in rows.items():
        lines.append(f'<text class="state" x="8" y="{y + 4}">{state}</text>')
        lines.append(f'<line class="line" x1="{_LEFT}" y1="{y}" x2="{width - 12}" y2="{y}"/>')
    for index, (before, move, after) in enumerate(transitions()):
        x, start, end = _LEFT + _COLUMN * index + 28, rows[before], rows[after]
        lines.append(f'<text transform="translate({x + 4},{_TOP - 20}) rotate(-50)">{move}</text>')
        lines.append(f'<circle class="head" cx="{x}" cy="{start}" r="4"/>')
        if start == end:  # it comes back to where it was
            lines.append(f'<path class="arrow" d="M{x},{start} c-14,28 14,28 8,10"/>')
            start, end, x = end + 20, end + 2, x + 7
        else:
            lines.append(f'<line class="arrow" x1="{x}" y1="{start}" x2="{x}" y2="{end}"/>')
        back = -11 if end > start else 11
        lines.append(f'<polygon class="head" points="{x},{end} {x - 6},{end + back} {x + 6},{end + back}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def page() -> str:
    """The page's text."""
    final = [state for state, moves in TRANSITIONS.items() if not moves]
    lines = [
        "# States of a block",
        "",
        "A block lives at the node that made it until it is linked. This page is made from the table in",
        "`scichain_wf/consensus/proposer.py`, the only one there is: a move that is not in it raises.",
        f"A block ends as {' or '.join(final)}. A rejected block's transactions are",
        "drafted anew, a bounded number of times; after that they stay in the outbox, and a note says so.",
        "",
        f"![One line for each state, one arrow for each transition; the table below says the same]({DIAGRAM})",
        "",
        "| from | move | to | when |",
        "|---|---|---|---|",
        *(f"| {before} | {move} | {after} | {WHEN[before, move]} |" for before, move, after in transitions()),
    ]
    return "\n".join(lines) + "\n"


def files() -> dict[str, str]:
    """Everything that is written: name → text."""
    return {PAGE: page(), DIAGRAM: diagram()}


def main(arguments: list[str] | None = None, directory: Path = DIRECTORY) -> int:
    """Write or check; returns the exit code."""
    for name, text in files().items():
        path = directory / name
        if "--check" not in (sys.argv[1:] if arguments is None else arguments):
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{name} is not current: python docs/generate_transitions.py\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

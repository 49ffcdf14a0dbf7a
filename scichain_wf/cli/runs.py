"""`scichain-wf runs list|show`: what was recorded. Nothing is verified here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json, say_table
from scichain_wf.cli.reading import body, open_view, parsed, run_named, text, when
from scichain_wf.ledger.isolate import isolated
from scichain_wf.model.bodies import Kind

if TYPE_CHECKING:
    from scichain_wf.ledger.view import ChainView
    from scichain_wf.model.canonical import JsonObject

_SHOWN: Final = 100


@click.group(name="runs", epilog="Example: scichain-wf runs list")
def command() -> None:
    """List the recorded runs, or show one."""


@command.command("list", epilog="Example: scichain-wf runs list --json")
@chain_option
@json_option
def list_runs(*, chain: Path | None, as_json: bool) -> None:
    """List the recorded runs, oldest first; as text the newest 100."""
    hidden, runs = isolated(_listed, find_chain(chain), None if as_json else _SHOWN)
    if as_json:
        say_json({"runs": runs})
    elif not runs:
        say("no runs are recorded on this chain")
    else:
        rows = [
            [
                run["run"][:12],
                when(run["started_us"]),
                run["status"],
                str(run["tasks"]),
                text(run["engine"]),
                text(run["user"]),
            ]
            for run in runs
        ]
        say_table(["RUN", "STARTED", "STATUS", "TASKS", "ENGINE", "USER"], rows)
        _say_hidden(hidden, "older runs")


@command.command("show", epilog="Example: scichain-wf runs show 0193a5")
@click.argument("run")
@chain_option
@json_option
def show_run(*, run: str, chain: Path | None, as_json: bool) -> None:
    """Show one run and its tasks, as text the first 100.

    RUN is its id, the beginning of it, or a file: then it is the run that made the file.
    """
    chain_dir = find_chain(chain, run)
    found = run_named(chain_dir, run)
    summary, hidden, tasks = isolated(_shown, chain_dir, found, None if as_json else _SHOWN)
    if as_json:
        say_json({**summary, "tasks": tasks})
        return
    say(f"run {summary['run']}")
    say_fields(
        [
            ("status", summary["status"]),
            ("started", when(summary["started_us"])),
            ("ended", when(summary["ended_us"])),
            ("engine", text(summary["engine"])),
            ("user", text(summary["user"])),
            ("author", text(summary["author"])),
            ("signed by", text(summary["signed_by"])),
            ("no record of", ", ".join(summary["missing"])),
            ("command", " ".join(summary["command"])),
        ]
    )
    for task in tasks:
        facts = f"attempt {task['attempt']}, {task['status']}, height {task['height']}, on {task['node']}"
        say(f"{task['task']}  ({facts})", indent=2)
        for direction in ("inputs", "outputs"):
            for item in task[direction]:
                sign = "<" if direction == "inputs" else ">"
                say(f"{sign} {item['uri']}  {item.get('digest', item['state'])}", indent=6)
    _say_hidden(hidden, "more tasks")


def _say_hidden(number: int, what: str) -> None:
    if number:
        say(f"and {number} {what} (--json has them all)")


def _listed(chain_dir: Path, most: int | None) -> tuple[int, list[dict[str, Any]]]:
    """How many runs are left out, and the newest `most`."""
    with open_view(chain_dir) as view:
        every = list(view.runs())
        hidden = 0 if most is None else max(0, len(every) - most)
        return hidden, [_summary(view, run) for run in every[hidden:]]


def _shown(chain_dir: Path, run: bytes, most: int | None) -> tuple[dict[str, Any], int, list[dict[str, Any]]]:
    """A run, how many of its tasks are left out, and its first `most`."""
    with open_view(chain_dir) as view:
        places = [(height, index) for kind, height, index in view.run(run) if kind == Kind.TASK]
        shown = places[:most]
        tasks = [_task(parsed(view, height, index), height) for height, index in shown]
        return _summary(view, run), len(places) - len(shown), tasks


def _summary(view: ChainView, run: bytes) -> dict[str, Any]:
    """What a run's own transactions say of it."""
    counts: Counter[str] = Counter()
    start: JsonObject = {}
    end: JsonObject = {}
    for kind, height, index in view.run(run):
        counts[kind] += 1
        if kind == Kind.RUN_START and not start:
            start = body(parsed(view, height, index))
        elif kind == Kind.RUN_END:
            end = body(parsed(view, height, index))
    engine = cast("dict[str, str]", start.get("engine") or {})
    return {
        "run": run.hex(),
        "status": text(end.get("status")) or "no end recorded",
        "started_us": start.get("started_us"),
        "ended_us": end.get("ended_us"),
        "engine": f"{engine.get('name', '')} {engine.get('version', '')}".strip() or None,
        "user": start.get("user"),
        "command": start.get("command") or [],
        "tasks": counts[Kind.TASK],
        "transactions": dict(counts),
        "tally": end.get("tally"),
        "author": start.get("author"),
        "signed_by": cast("dict[str, str]", end.get("author_signature") or {}).get("key"),
        "settings": start.get("settings"),
        "missing": end.get("missing") or [],
    }


def _task(value: JsonObject, height: int) -> dict[str, Any]:
    shown = body(value)
    return {"key": value["key"], "height": height, **shown}

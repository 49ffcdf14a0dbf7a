"""The report: one HTML file that needs nothing else, works from a disk, and runs nothing but its own script.

The policy in its head allows no source at all; its one style and one script are named by their digests. Everything
that came from a workflow is escaped text, or JSON that the script only ever makes into text. Sections 1 to 7, 10 and 11
are complete without the script; it adds searching and what belongs to a chosen artifact.
"""

from __future__ import annotations

import base64
from collections import Counter
from hashlib import sha256
from importlib.resources import files
from typing import Final

from scichain_wf.audit.result import Result
from scichain_wf.model.text import digest_text
from scichain_wf.report.charts import agreement, timeline
from scichain_wf.report.data import data_of
from scichain_wf.report.lineage import lineage
from scichain_wf.report.markup import Html, code, count, el, facts, join, lasting, table, when
from scichain_wf.report.verdict import checked, findings, verdict

_ROWS_MAX: Final = 200
_SECTIONS: Final = (
    "Verdict", "What was checked", "Findings", "Runs", "Lineage", "Timeline", "Agreement", "Chain", "Artifacts",
    "Difference", "Verify it yourself",
)  # fmt: skip


def to_html(result: Result, version: str, made_us: int) -> str:
    """The report of one result, by this program of `version`, made at `made_us`."""
    style, script = (
        files("scichain_wf.report").joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    data = data_of(result.account)
    content = (
        verdict(result, version, made_us), checked(result), findings(result), _runs(result), _lineage(result),
        _timeline(result), _agreement(result), _chain(result), _artifacts(result), _difference(result),
        _yourself(result, data),
    )  # fmt: skip
    sections = join(
        el("section", el("h2", el("span", number, cls="number"), name), body, id=f"s{number}")
        for number, (name, body) in enumerate(zip(_SECTIONS, content, strict=True), 1)
    )
    links = join(el("li", el("a", name, href=f"#s{number}")) for number, name in enumerate(_SECTIONS, 1))
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{result.verdict} · scichain-wf audit"),
        Html(f"<style>{style}</style>"),
    )
    body = el(
        "body",
        el("a", "Skip to the verdict", href="#s1", cls="skip"),
        el(
            "div",
            el("nav", el("p", "scichain-wf audit", cls="brand"), el("ol", links), aria_label="Sections"),
            el("main", el("h1", f"Audit of {result.subject}"), sections),
            cls="page",
        ),
        Html(f'<script type="application/json" id="data">{data}</script><script>{script}</script>'),
    )
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(sha256(content.encode()).digest()).decode()}"


def _runs(result: Result) -> Html:
    account = result.account
    if account is None:
        return _absent()
    shown = account.runs[-_ROWS_MAX:]
    rows = [
        (
            code(run.run[:12]),
            run.status,
            run.engine,
            run.user,
            when(run.started_us),
            lasting((run.ended_us - run.started_us) / 1e6) if run.ended_us and run.started_us else "",
            count(run.kinds.get("task", 0)),
            count(len(run.lost)),
        )
        for run in reversed(shown)
    ]
    headings = "Run", "Status", "Engine", "User", "Started", "Took", "Tasks", "No end"
    one = account.runs[0] if len(account.runs) == 1 else None
    told = (
        facts(
            (
                ("Run", code(one.run)),
                ("Command", code(one.command)),
                ("Engine's own count", ", ".join(f"{number} {name}" for name, number in one.tally.items())),
            )
        )
        if one
        else ""
    )
    hidden = len(account.runs) - len(shown)
    kept = f" of {count(account.tasks_total)}" if account.tasks_total > len(account.tasks) else ""
    return join(
        (
            told,
            table(headings, rows, f"{count(len(account.runs))} runs, the newest first", (6, 7)),
            el("p", f"and {count(hidden)} older runs") if hidden else "",
            el("h3", f"{count(len(account.tasks))}{kept} tasks"),
            _searched("tasks", "Search tasks"),
        )
    )


def _searched(name: str, label: str) -> Html:
    """Where the script puts a table with a search field."""
    return el(
        "div",
        el("p", f"{label}: this table needs the report's script, which does not run here.", cls="noscript"),
        data_table=name,
        data_label=label,
    )


def _absent() -> Html:
    return el("p", "The records could not be read; see the findings.")


def _lineage(result: Result) -> Html:
    if result.account is None:
        return _absent()
    if not result.account.groups:
        return el("p", "No task is recorded.")
    hint = el(
        "p",
        "Arrows lead from what made artifacts to what read them. Choose an artifact or a task in a table to see "
        "what it was made from and what was made from it.",
        cls="hint",
    )
    return join((hint, lineage(result.account), el("div", id="chosen", aria_live="polite")))


def _timeline(result: Result) -> Html:
    if result.account is None:
        return _absent()
    if not result.account.tasks:
        return el("p", "No task is recorded.")
    overhead = result.account.overhead()
    said = (
        ""
        if overhead is None
        else el(
            "p",
            el("strong", f"Provenance overhead: {overhead:.2f} %"),
            (
                " of the tasks' own time lies between their ends and their complete records (hashing of outputs and "
                "writing the record). Times are claims of the hosts that recorded them."
            ),
        )
    )
    return join((said, timeline(result.account)))


def _agreement(result: Result) -> Html:
    return _absent() if result.account is None else agreement(result.account)


def _chain(result: Result) -> Html:
    if result.account is None:
        return _absent()
    modes = Counter(block.mode for block in result.account.blocks)
    said = ", ".join(f"{count(number)} {mode}" for mode, number in sorted(modes.items()))
    return join(
        (
            el(
                "p",
                f"{count(len(result.account.blocks))} blocks: {said}. Choose one to see its records and how to "
                "prove it.",
            ),
            _searched("blocks", "Search blocks"),
            el("div", id="block", aria_live="polite"),
        )
    )


def _artifacts(result: Result) -> Html:
    if result.account is None:
        return _absent()
    states = Counter(artifact.disk for artifact in result.account.artifacts)
    rows = [(name or "not looked at", count(number)) for name, number in sorted(states.items())]
    return join(
        (
            table(("Compared with the disk", "Artifacts"), rows, "Every content of every artifact", (1,)),
            _searched("artifacts", "Search artifacts"),
        )
    )


def _difference(result: Result) -> Html:
    found = result.difference
    if found is None:
        return el("p", "No baseline was named. ", code("scichain-wf audit RUN --baseline RUN"), " compares two runs.")
    told = facts(
        (
            ("Baseline", code(found.before)),
            ("This run", code(found.after)),
            (
                "The same",
                f"{count(found.same)} tasks"
                + (f", {count(found.unhashed)} of them as far as was hashed" * bool(found.unhashed)),
            ),
            ("Only in the baseline", ", ".join(found.only_before[:_ROWS_MAX])),
            ("Only in this run", ", ".join(found.only_after[:_ROWS_MAX])),
        )
    )
    parts = [told]
    for title, items in (
        ("Same inputs, parameters and code; other outputs", found.unstable),
        ("Changed", found.changed),
    ):
        rows = [
            (
                item.task,
                ", ".join(item.changed),
                join(el("div", code(u)) for u in item.inputs[:5]),
                join(el("div", code(u)) for u in item.outputs[:5]),
            )
            for item in items[:_ROWS_MAX]
        ]
        if rows:
            parts.append(table(("Task", "Changed", "Inputs", "Outputs"), rows, f"{title}: {count(len(items))} tasks"))
    return join(parts)


def _yourself(result: Result, data: str) -> Html:
    root = digest_text(result.chain) if result.chain else "sha256:…"
    commands = (
        ("The chain and every file it records", f"scichain-wf verify CHAIN --trust-root {root}"),
        ("One file", f"scichain-wf verify FILE --trust-root {root}"),
        ("One link's place among all links", "scichain-wf ledger proof HEIGHT --json"),
        ("That nothing was rewritten since", "scichain-wf verify CHAIN --checkpoint KEPT"),
        ("One file, without this chain", f"scichain-wf verify FILE --receipt RECEIPT --trust-root {root}"),
        ("This report", "sha256sum REPORT"),
    )
    return join(
        (
            el(
                "p", "This page is a rendering and proves nothing by itself. These commands do, on a machine you trust:"
            ),
            facts((name, code(command)) for name, command in commands),
            facts(
                (
                    ("Trust root", code(root)),
                    ("Keys", join(el("div", line) for line in result.trust if "key" in line)),
                    ("Data of this report", code(f"sha256:{sha256(data.encode()).hexdigest()}")),
                )
            ),
            el(
                "p",
                "The digest of the whole file was printed when it was written; compare it before you rely on a copy.",
            ),
        )
    )

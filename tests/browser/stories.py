"""Audit results to look at: a plausible workflow of any size, and one whose every name is hostile."""

from __future__ import annotations

import random
from dataclasses import replace
from hashlib import sha256
from itertools import count

from scichain_wf.audit import FileResult, FileState, Finding, Head, Result
from scichain_wf.audit.account import (
    Account,
    Agreement,
    ArtifactFacts,
    BlockFacts,
    Flow,
    Group,
    RunFacts,
    SlotFacts,
    TaskFacts,
)
from scichain_wf.audit.chain import CHECKED
from scichain_wf.audit.difference import Difference, TaskDifference
from scichain_wf.ledger.problem import Problem

BEGIN_US = 1_750_000_000_000_000
ROOT = "work:00112233445566aa/"
RULES = (
    "fetch",
    "trim",
    "index_reference",
    "align",
    "sort",
    "deduplicate",
    "call_variants",
    "annotate",
    "plot",
    "report",
)
READS = {1: (0,), 3: (1, 2), 4: (3,), 5: (4,), 6: (5, 2), 7: (6,), 8: (7, 5), 9: (8,)}
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\x1b[2J\u202e\ud800'\"&`${x}"


def digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def add_tasks(made: Account, tasks: int, nodes: int, suffix: str) -> None:
    """Samples that go through ten rules, on some nodes."""
    rng = random.Random(1)
    newest: dict[tuple[int, int], int] = {}
    reference = len(made.artifacts)
    made.artifacts.append(
        ArtifactFacts(f"{ROOT}data/reference.fa.gz", digest("ref"), 3_100_000_000, "file", None, "source")
    )
    free = [BEGIN_US] * nodes
    for number in range(tasks):
        sample, rule = divmod(number, len(RULES))
        inputs = [newest[sample, before] for before in READS.get(rule, ())] or [reference]
        node = number % nodes
        began = free[node] + rng.randrange(200_000)
        ended = began + rng.randrange(400_000, 9_000_000)
        free[node] = ended - rng.randrange(0, 3_000_000)
        status = "failed" if number % 97 == 96 else "ok"
        place = newest[sample, rule] = len(made.artifacts)
        for kind in ("bam", "log"):
            uri = f"{ROOT}results/{RULES[rule]}/sample{sample:05}{suffix}.{kind}"
            disk = "changed" if number == 7 else "temporary" if number % 5 == 3 else "match"
            made.artifacts.append(ArtifactFacts(uri, digest(uri), rng.randrange(10**9), "file", number, disk))
        made.tasks.append(
            TaskFacts(
                0,
                RULES[rule],
                f"{RULES[rule]} sample={sample:05}{suffix}",
                1,
                status,
                f"node-{node + 1}{suffix}",
                began,
                ended,
                ended + rng.randrange(1_000, 60_000),
                3 + number // 12,
                number % 12,
                inputs,
                [place, place + 1],
                "",
            )
        )


def add_blocks(made: Account, tasks: int, nodes: int, suffix: str) -> None:
    """Blocks of twelve, and who judged them."""
    blocks = -(-tasks // 12)
    slots = range(1, nodes + 1)
    for at in range(blocks):
        mode, reason = ("poet", "deadline") if at % 9 == 8 else ("quorum", "")
        made.blocks.append(
            BlockFacts(
                3 + at,
                at % nodes + 1,
                at // nodes + 1,
                mode,
                reason,
                12,
                nodes // 2 + 1,
                BEGIN_US + at * 900_000,
                2,
                "outbox",
                digest(f"link {at}"),
                digest(f"block {at}"),
            )
        )
    made.slots = [
        SlotFacts(
            s,
            f"node-{s}{suffix}",
            blocks // nodes,
            12 * blocks // nodes,
            blocks // nodes // 9,
            2 + blocks,
            blocks,
            blocks,
            0,
        )
        for s in slots
    ]
    made.agreement = [
        Agreement(m, j, blocks // nodes * (2 + (m + j) % 2) // 3, int(m == 1 and j == 2), 0)
        for m in slots
        for j in slots
        if nodes < 2 or (m, j) != (3, 1)
    ]


def account(tasks: int, nodes: int = 4, suffix: str = "") -> Account:
    """A run of so many tasks."""
    made = Account()
    add_tasks(made, tasks, nodes, suffix)
    add_blocks(made, tasks, nodes, suffix)
    totals = count()
    made.groups = [
        Group(
            name + suffix,
            len(made.tasks[next(totals) :: len(RULES)]),
            sum(t.status == "failed" for t in made.tasks if t.name == name),
            1.0,
        )
        for name in RULES
    ]
    made.flows = [Flow(before, rule, tasks // len(RULES)) for rule, reads in READS.items() for before in reads]
    ended_us = max((task.ended_us for task in made.tasks), default=BEGIN_US)
    made.runs = [
        RunFacts(
            "01977420dc0175b1a5224a58b791f1d8",
            "ok",
            "snakemake 9.27.0",
            f"ada{suffix}",
            f"snakemake --cores 8{suffix}",
            BEGIN_US,
            ended_us,
            {"run-start": 1, "task": tasks, "run-end": 1},
            {"planned": tasks, "finished": tasks, "failed": 0},
            [],
        )
    ]
    made.tasks_total = tasks
    return made


def story(tasks: int, *, nodes: int = 4, failed: bool = True, suffix: str = "") -> Result:
    """A whole result; with `failed` something is wrong in it, of every severity."""
    told = account(tasks, nodes, suffix=suffix)
    problems = [Problem("conf-no-author", "1 of 1 runs"), Problem("conf-no-trust-root", digest("chain"))]
    files: tuple[FileResult, ...] = ()
    if failed:
        changed = told.artifacts[told.tasks[7].outputs[0]]
        path = f"/data/project{suffix}/{changed.uri.removeprefix(ROOT)}"
        files = (FileResult(changed.uri, FileState.CHANGED, path, height=3, index=7, task=told.tasks[7].task),)
        problems += [
            Problem(
                "file-changed",
                f"{path} (made by {told.tasks[7].task!r})",
                f"sha256:{changed.digest} (1048576 bytes)",
                f"sha256:{digest('other')} (1048577 bytes)",
                3,
                7,
            ),
            Problem("file-elsewhere", "12 files", "", f"file:node-9{suffix}"),
            Problem(
                "run-lost", f"2 tasks of run {told.runs[0].run}", "", f"plot sample=00007{suffix}, report sample=00007"
            ),
            Problem(
                "trace-contested", f"task 'annotate sample=00003{suffix}' (transaction 4 at height 5)", "", "x", 5, 4
            ),
        ]
    findings = [Finding.of(problem) for problem in problems]
    findings = [
        replace(f, blast=(told.artifacts[9].uri + suffix,) * 3, blast_count=42) if f.id == "SC-FILE-001" else f
        for f in findings
    ]
    order = ["error", "unchecked", "warning", "info"]
    difference = Difference(
        "0" * 32,
        told.runs[0].run,
        990,
        3,
        [TaskDifference(f"plot{suffix}", [], [], [f"{ROOT}plot.png"])],
        [TaskDifference("align", ["params", "code"], [f"{ROOT}a.bam"], [f"{ROOT}b.bam"])],
        ["old"],
        ["new"],
    )
    return Result(
        subject=f"the chain in /data/project{suffix}/.scichain and its files",
        findings=tuple(sorted(findings, key=lambda f: order.index(f.severity.value))),
        counts={
            "links": 3 + len(told.blocks),
            "transactions": tasks + 2,
            "transactions-quorum": tasks * 8 // 9,
            "transactions-poet": tasks // 9,
            "tasks": tasks,
            "files-match": 2 * tasks - 1,
            "files-changed": 1,
        },
        chain=bytes.fromhex(digest("chain")),
        head=Head(
            3 + len(told.blocks), bytes.fromhex(digest("head")), bytes.fromhex(digest("root")), 3 + len(told.blocks)
        ),
        trust=(
            "No trust root was pinned: this is a chain that calls itself so.",
            "Authority key ed25519:0123456789abcdef… states who may judge; 3 of 4 slots are a quorum.",
            "Records are as made if fewer than a quorum of slots lied, or the storage node was honest.",
        ),
        checked=CHECKED,
        unchecked=("whether times, hosts and users are as the records claim",),
        files=files,
        account=told,
        difference=difference,
    )

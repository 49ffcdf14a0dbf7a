"""What almost triggers a finding, and does not: the nearest legitimate thing. Which case is of which: `fixtures`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import audit, limits
from scichain_wf.audit import FileState, Verdict
from scichain_wf.consensus import membership
from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import DATA_FILE
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.model.transaction import NO_RUN
from scichain_wf.model.uri import file_uri
from scichain_wf.model.verdict import Verdict as Vote
from tests.builders import Candidate, ChainBuilder, signing_key
from tests.chains import DiskChain, small_chain, write_files
from tests.unit.audit.fixtures import NEAR_MISSES
from tests.unit.audit.support import audited, get, ids, put, started, verify_here
from tests.unit.audit.test_forgeries import resealed

NOTHING: frozenset[str] = frozenset()
Found = tuple[audit.Result, frozenset[str]]
"""What was found, and which findings should have been."""
Case = Callable[[Path], Found]
"""Makes a chain in a directory and looks at it; holds by itself that it is the case its name says."""
CASES: dict[str, Case] = {}


def near(case: Case) -> Case:
    CASES[case.__name__] = case
    return case


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_is_almost(tmp_path: Path, name: str) -> None:
    work = (tmp_path / "work").resolve()
    work.mkdir()
    result, shows = CASES[name](work)
    assert ids(result) == shows
    assert {finding.id for finding in result.findings}.isdisjoint(NEAR_MISSES[name])  # of information, too


def test_every_case_is_of_a_finding() -> None:
    assert CASES.keys() == NEAR_MISSES.keys()


def signed(chain: DiskChain, trust_root: bytes | None = None, kept: str | None = None) -> audit.Result:
    chain.checkpoint()
    chain.close()
    return verify_here(chain.root, trust_root, kept)


def rejoined(build: ChainBuilder, *slots: int, host: str = "") -> Candidate:
    """An epoch in which these slots have new keys."""
    joins = []
    for slot in slots:
        token_key = signing_key(slot, f"token {build.epoch.epoch}")
        token = membership.issue_token(build.authority, build.chain, build.epoch.generation, slot, token_key)
        build.nodes[slot] = signing_key(slot, f"node of epoch {build.epoch.epoch}")
        joins.append(membership.bind(token, build.chain, build.nodes[slot].public, host or f"node-{slot}"))
    return build.epoch_candidate(membership.joined(build.epoch, build.chain, tuple(joins)))


# --- the ledger's structure --------------------------------------------------------------------------------
@near
def file_with_room_at_its_end(work: Path) -> Found:
    """As a copy onto another file system may leave it."""
    chain = started(work / ".scichain")
    chain.checkpoint()
    chain.close()
    data = chain.layout.live_ledger() / DATA_FILE
    os.truncate(data, data.stat().st_size + 16_384)
    result = verify_here(chain.root)
    assert result.counts["links"] == 4
    return result, NOTHING


@near
def genesis_alone(work: Path) -> Found:
    chain = DiskChain(work / ".scichain", join=False)
    result = signed(chain)
    assert (result.counts["links"], result.verdict) == (1, Verdict.VERIFIED)
    return result, NOTHING


@near
def blocks_in_another_order_than_they_were_made(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    first, second = (build.block(slot, [build.task(f"t{slot}")]) for slot in (1, 2))
    links = [chain.append(build.quorum(block)) for block in (second, first)]
    assert first.header.parent_height == second.header.parent_height == links[1].height - 2
    return signed(chain), NOTHING


@near
def block_whose_transactions_were_all_committed_before(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    tasks = [build.task(name, outputs=[build.artifact(name, b"1")]) for name in ("a", "b")]
    chain.block(1, tasks)
    marks = tuple(Annotation(index, Mark.DUPLICATE) for index in range(2))
    chain.append(replace(build.quorum(build.block(2, tasks)), annotations=marks))
    result = signed(chain)
    assert result.counts["duplicates"] == 2
    return result, NOTHING


@near
def full_block_marked_at_its_end(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    last = limits.BLOCK_TRANSACTIONS_MAX - 1
    notes = [build.transaction(Kind.NOTE, {"text": str(number)}) for number in range(last)]
    waiting = build.artifact("never", b"made") | {"origin": "task:lost"}
    block = build.block(1, [*notes, build.task("waits", [waiting])])
    marks = (Annotation(last, Mark.UNRESOLVED, ("never",)),)
    chain.append(replace(build.quorum(block), annotations=marks))
    result = signed(chain)
    assert (result.counts["transactions"], result.counts["unresolved"]) == (4 + last + 1, 1)
    return result, frozenset({"SC-TRACE-004"})


@near
def records_that_are_as_odd_as_they_may(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    odd = '"version":2,\\"\x1b[2J\x00\u2028\U0001f9ea'
    chain.block(1, [build.task("make", [], [build.artifact("a", b"made")])])
    longest = odd + "x" * (limits.TEXT_CHARS_MAX - len(odd))
    note = build.transaction(Kind.NOTE, {"text": longest})
    name, own = "n" * limits.NAME_CHARS_MAX, {"version": 2}
    reader = build.task(name, [build.artifact("a", b"changed")], params=own, wildcards=own)
    block = build.block(2, [note, reader])
    chain.append(build.poet(block, (Annotation(1, Mark.CONTESTED, (odd, longest, odd)),), reason="conflict"))
    result = signed(chain)
    assert (result.counts["contested"], result.counts["transactions-poet"]) == (1, 2)
    return result, frozenset({"SC-TRACE-001"})


@near
def tree_of_a_power_of_two(work: Path) -> Found:
    """Its last link completes every level; the kept checkpoint is of the tree before that."""
    chain = started(work / ".scichain")
    for name in ("a", "b", "c"):
        chain.block(1, [chain.builder.task(name)])
    kept = chain.checkpoint()
    chain.block(1, [chain.builder.task("d")])
    result = signed(chain, kept=kept.text())
    assert (kept.size, result.counts["links"]) == (7, 8)
    return result, NOTHING


@near
def artifacts_recorded_again_in_every_way(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    value = build.artifact("x", b"1") | {"uri": f"value:{build.run.hex()}/a/1"}
    names = ("x", "x", "X", "x/y", "x\x01", "\xff", "x" * 500)  # of keys that continue or nearly repeat each other
    outputs = [build.artifact("x", b"1"), *(build.artifact(name) for name in names), build.artifact("x", b"1"), value]
    note = build.transaction(Kind.NOTE, {"text": "of no run"}, NO_RUN)
    chain.block(1, [build.task("a", [], outputs), note, build.task("a", [], outputs, attempt=2, status="failed")])
    result = signed(chain)
    assert result.counts["tasks"] == 2
    return result, NOTHING


@near
def trust_root_that_is_a_link_to_where_it_is_kept(work: Path) -> Found:
    chain = started(work / ".scichain")
    kept = chain.layout.trust_root.rename(work / "kept")
    kept.chmod(0o400)
    chain.layout.trust_root.symlink_to("../kept")
    return signed(chain), NOTHING


# --- blocks, certificates, epochs --------------------------------------------------------------------------
@near
def numbers_that_others_have_too(work: Path) -> Found:
    """Each proposer counts by itself and may leave numbers out, and so may writers."""
    chain = started(work / ".scichain")
    build = chain.builder
    build.sequences[1] = build.sequences[2] = 41
    for slot, writer in ((1, 5), (2, 5), (1, 7)):
        chain.append(build.poet(build.block(slot, [build.task(f"t{slot}")]), writer=writer), writer=writer)
    assert (build.sequences[1], build.sequences[2]) == (43, 42)
    return signed(chain), NOTHING


@near
def members_that_came_again(work: Path) -> Found:
    """Two epochs in a row, after them a block of the epoch before and one by a key that is new."""
    chain = started(work / ".scichain")
    build = chain.builder
    older = build.block(1, [build.task("older")])
    before = build.epoch
    for slot in (2, 3):
        chain.append(rejoined(build, slot))
    chain.append(build.quorum(older, [1, 2, 3]))
    chain.append(build.quorum(build.block(2, [build.task("new")]), [2, 3]))
    assert (build.epoch.epoch, build.epoch.generation) == (older.header.epoch + 2, before.generation)
    result = signed(chain)
    assert result.counts["tasks"] == 2
    return result, NOTHING


@near
def storage_key_that_was_exchanged(work: Path) -> Found:
    """The old key signed the kept checkpoint and the epoch, the new one what follows; the trust root stays as it is."""
    chain = started(work / ".scichain")
    build = chain.builder
    kept, new = chain.checkpoint(), signing_key(8, "new storage")
    epoch = membership.restated(build.epoch, build.authority, build.chain, 3, storage=new.public)
    chain.append(build.epoch_candidate(epoch))
    build.storage = new
    chain.append(rejoined(build, 1, 2, 3))
    chain.append(build.poet(build.block(1, [build.task("x")])))
    result = signed(chain, build.chain, kept.text())
    assert result.counts["transactions-poet"] == 1
    return result, NOTHING


@near
def checkpoint_of_a_key_that_was_exchanged_since(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    note = chain.checkpoint()
    epoch = membership.restated(build.epoch, build.authority, build.chain, 3, storage=signing_key(8, "new").public)
    assert chain.append(build.epoch_candidate(epoch)).height == note.size
    chain.close()
    return verify_here(chain.root), frozenset({"SC-CHAIN-098"})


@near
def quorum_just_reached_by_votes_from_behind(work: Path) -> Found:
    chain = DiskChain(work / ".scichain", ChainBuilder(slots=4, settings=Settings(quorum="byzantine")))
    build = chain.builder
    block = build.block(1, [build.task("a")])
    certified = build.quorum(block, [1, 3, 4])
    chain.block(2, [build.task("between")])
    assert (build.epoch.quorum_slots(), chain.append(certified).height) == (3, block.header.parent_height + 2)
    return signed(chain), NOTHING


@near
def storage_that_judged_though_a_quorum_had(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    block = build.block(1, [build.task("a")])
    votes = build.vote(1, block), build.vote(2, block), build.vote(3, block, Vote.UNKNOWN)
    chain.append(build.poet(block, votes=votes))
    result = signed(chain)
    assert result.counts["transactions-poet"] == 1
    return result, NOTHING


@near
def block_out_of_a_spool(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    chain.append(build.quorum(resealed(build, build.block(1, [build.task("a")]), source="spool")))
    result = signed(chain)
    assert result.counts["transactions-spool"] == 1
    return result, NOTHING


@near
def file_of_a_block_beside_an_altered_one(work: Path) -> Found:
    """One file's proof goes past the other block, which the chain's verification finds."""
    chain = small_chain(work / ".scichain")
    chain.close()
    write_files(chain)
    place = keys.height_key(5)
    stored = get(chain.root, keys.BLOCKS, place)
    put(chain.root, [(keys.BLOCKS, place, stored.replace(b'"exit_status":0', b'"exit_status":1'))])
    result = audit.verify_artifact(chain.root, work / "out/3.txt")
    assert result.files[0].state is FileState.MATCH
    assert "SC-CHAIN-010" in ids(verify_here(chain.root))
    return result, NOTHING


# --- records -----------------------------------------------------------------------------------------------
@near
def input_made_just_before_in_the_same_block(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    made = build.artifact("a", b"a")
    chain.block(1, [build.task("make", [], [made]), build.task("read", [made | {"origin": "task:make"}])])
    result = signed(chain)
    assert result.counts["tasks"] == 2
    return result, NOTHING


@near
def run_whose_beginning_came_late(work: Path) -> Found:
    chain = DiskChain(work / ".scichain")
    build = chain.builder
    chain.block(1, [build.task("a")])
    chain.block(2, [build.run_start(path=str(work)), build.run_end(1)])
    result = audited(chain)
    assert result.account is not None
    assert result.account.runs[0].kinds == {"task": 1, "run-start": 1, "run-end": 1}
    return result, NOTHING


@near
def record_that_came_again_after_the_end(work: Path) -> Found:
    chain = started(work / ".scichain")
    build = chain.builder
    task = build.task("a")
    chain.block(1, [task, build.run_end(1)])
    chain.append(replace(build.quorum(build.block(2, [task])), annotations=(Annotation(0, Mark.DUPLICATE),)))
    result = audited(chain)
    assert (result.counts["duplicates"], ids(audit.verify_run(chain.root, build.run, jobs=1))) == (1, set())
    return result, NOTHING


# --- files and settings ------------------------------------------------------------------------------------
def made(work: Path, *outputs: JsonObject, status: str = "ok") -> DiskChain:
    chain = started(work / ".scichain")
    chain.block(1, [chain.builder.task("make", [], outputs, status=status), chain.builder.run_end(1)])
    return chain


@near
def files_that_may_be_gone(work: Path) -> Found:
    build = ChainBuilder()
    states = ("temporary", "absent", "pipe")
    result = audited(made(work, *(build.artifact(state, b"1") | {"state": state} for state in states)), jobs=1)
    assert result.counts["files-gone"] == 3
    return result, NOTHING


@near
def file_that_a_failed_task_left_behind_or_not(work: Path) -> Found:
    (work / "left").write_bytes(b"1")
    outputs = [ChainBuilder().artifact(name, b"1") for name in ("left", "gone")]
    result = audited(made(work, *outputs, status="failed"), jobs=1)
    assert (result.counts["files-gone"], result.counts["files-match"]) == (1, 1)
    return result, NOTHING


@near
def file_below_a_directory_that_is_a_link(work: Path) -> Found:
    (work / "scratch").mkdir()
    (work / "scratch/a").write_bytes(b"a")
    (work / "out").symlink_to("scratch")
    result = audited(made(work, ChainBuilder().artifact("out/a", b"a")), jobs=1)
    assert result.counts["files-match"] == 1
    return result, NOTHING


@near
def empty_file_named_with_this_host(work: Path) -> Found:
    (work / "empty").write_bytes(b"")
    uri = file_uri(os.fsencode(work / "empty"), socket.gethostname())
    result = audited(made(work, ChainBuilder().artifact("empty", b"") | {"uri": uri}), jobs=1)
    assert result.counts["files-match"] == 1
    return result, NOTHING


@near
def hashed_file_beside_one_that_is_not(work: Path) -> Found:
    build = ChainBuilder()
    for name in ("a", "not"):
        (work / name).write_bytes(b"a")
    chain = made(work, build.artifact("not"), build.artifact("a", b"a"))
    chain.checkpoint()
    chain.close()
    receipt = audit.make_receipt(chain.root, work / "a")
    assert audit.verify_receipt(receipt, chain.builder.chain, work / "a").findings == ()
    assert ids(audit.verify_artifact(chain.root, work / "not")) == {"SC-FILE-013"}
    return audit.verify_artifact(chain.root, work / "a"), NOTHING


@near
def two_slots_of_which_one_is_elsewhere(work: Path) -> Found:
    """Both were on one host before."""
    chain = started(work / ".scichain", slots=2)
    for host in ("node-2", "node-1"):
        chain.append(rejoined(chain.builder, 1, host=host))
    result = signed(chain)
    assert result.counts["transactions-epoch"] == 5
    assert not any("Self-recorded" in line for line in result.trust)
    return result, NOTHING

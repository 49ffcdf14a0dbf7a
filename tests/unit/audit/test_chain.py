"""What a whole chain's verification finds; each forgery here is consistent but for what the test is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.audit import Verdict
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import sha256
from scichain_wf.ledger import keys
from scichain_wf.model.bodies import Kind
from scichain_wf.model.certificate import QuorumCertificate
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import Transaction
from scichain_wf.model.verdict import Verdict as Vote
from tests.builders import Candidate, signing_key
from tests.chains import DiskChain, small_chain
from tests.unit.audit.support import appended, get, ids, put, started, verify_here


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.mark.usefixtures("children")
def test_an_honest_chain_is_verified_by_child_processes(root: Path) -> None:
    small_chain(root).close()
    seen: list[tuple[int, int]] = []
    result = audit.verify_chain(root, jobs=2, progress=lambda done, total: seen.append((done, total)))
    assert (result.verdict, result.exit_code) == (Verdict.VERIFIED, 0)
    assert result.counts["transactions"] == 17
    assert result.counts["transactions-quorum"] == 10
    assert result.counts["transactions-poet"] == 4
    assert seen[-1] == (6, 6)
    assert result.head is not None
    assert result.head.size == result.head.checkpoint_size == 6


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_chains_of_other_sizes_are_verified(root: Path, slots: int) -> None:
    small_chain(root, slots=slots, seed=slots).close()
    assert verify_here(root).verdict is Verdict.VERIFIED


def test_an_unpinned_trust_root_is_said_and_a_pinned_one_is_held(root: Path) -> None:
    with small_chain(root) as chain:
        chain_id = chain.builder.chain
    assert "SC-CONF-001" in {finding.id for finding in verify_here(root).findings}
    assert "SC-CONF-001" not in {finding.id for finding in verify_here(root, chain_id).findings}
    assert ids(verify_here(root, sha256(b"another"))) == {"SC-CHAIN-090"}


def test_a_chain_without_checkpoint_is_incomplete(root: Path) -> None:
    with small_chain(root) as chain:
        chain.layout.checkpoint.unlink()
    result = verify_here(root)
    assert (result.verdict, result.exit_code, ids(result)) == (Verdict.INCOMPLETE, 3, {"SC-CHAIN-093"})


def test_links_after_the_checkpoint_are_named_as_not_signed_yet(root: Path) -> None:
    with small_chain(root) as chain:
        chain.block(1, [chain.builder.task("late")])
    result = verify_here(root)
    assert (result.verdict, ids(result)) == (Verdict.INCOMPLETE, {"SC-CHAIN-098"})


def test_a_rolled_back_chain_is_found_by_its_own_and_by_a_kept_checkpoint(root: Path, tmp_path: Path) -> None:
    """Spec: SAFE-1."""
    with small_chain(root) as chain:
        chain.store.snapshot(tmp_path / "older")
        old = chain.layout.checkpoint.read_text()
        chain.block(1, [chain.builder.task("later")])
        newer = chain.checkpoint().text()
    assert "SC-CHAIN-102" not in ids(verify_here(root, kept=old))
    (tmp_path / "older" / "data.mdb").replace(root / "ledger" / "00000000" / "data.mdb")
    assert ids(verify_here(root)) == {"SC-CHAIN-097"}
    (root / "checkpoint").write_text(old)
    assert ids(verify_here(root)) == set()
    assert ids(verify_here(root, kept=newer)) == {"SC-CHAIN-102"}


def test_a_fork_is_found_by_a_kept_checkpoint(root: Path, tmp_path: Path) -> None:
    """Spec: SAFE-1."""
    notes = []
    for name in ("one", "two"):
        with small_chain(tmp_path / name) as chain:
            chain.block(1, [chain.builder.task(name)])
            notes.append(chain.checkpoint().text())
    assert ids(verify_here(tmp_path / "one", kept=notes[0])) == set()
    assert ids(verify_here(tmp_path / "one", kept=notes[1])) == {"SC-CHAIN-101"}


def test_a_chain_rewritten_with_other_keys_is_found_by_trust_root_and_kept_checkpoint(
    root: Path, tmp_path: Path
) -> None:
    with small_chain(root) as chain:
        trusted, kept = chain.builder.chain, chain.checkpoint().text()
    small_chain(tmp_path / "forged", seed=2).close()
    assert ids(verify_here(tmp_path / "forged")) == set()  # nothing was pinned, and the result says so
    assert "SC-CHAIN-090" in ids(verify_here(tmp_path / "forged", trusted))
    assert "SC-CHAIN-100" in ids(verify_here(tmp_path / "forged", kept=kept))


def test_a_checkpoint_signed_by_another_key_is_found(root: Path) -> None:
    with small_chain(root) as chain, chain.store.view() as view:
        note = Checkpoint(view.chain_id, view.size, view.root()).sign(signing_key(9, "thief"))
        chain.layout.checkpoint.write_text(note.text())
    assert ids(verify_here(root)) == {"SC-CHAIN-095"}
    assert ids(verify_here(root, kept=note.text())) == {"SC-CHAIN-095", "SC-CHAIN-103"}


# --- forged appends: Spec: SAFE-4, SAFE-5, SAFE-6 ------------------------------------------------------
def test_a_certificate_below_the_quorum_is_found(root: Path) -> None:
    chain = started(root)
    block = chain.builder.block(1, [chain.builder.task("x")])
    assert ids(appended(root, chain.builder.quorum(block, [2]), chain=chain)) == {"SC-CHAIN-062"}


def test_a_vote_with_another_slots_signature_is_found(root: Path) -> None:
    chain = started(root)
    builder = chain.builder
    block = builder.block(1, [builder.task("x")])
    honest, other = builder.vote(1, block), builder.vote(2, block)
    stolen = replace(other, signature=honest.signature)
    certificate = QuorumCertificate(block.id, builder.epoch.epoch, builder.solution(block), (honest, stolen))
    candidate = Candidate(block, Mode.QUORUM, certificate.encode(), builder.epoch.epoch)
    assert ids(appended(root, candidate, chain=chain)) == {"SC-CHAIN-062", "SC-CHAIN-063"}


def test_votes_given_on_another_history_are_found(root: Path) -> None:
    chain = started(root)
    builder = chain.builder
    block = builder.block(1, [builder.task("x")])
    head, builder.head = builder.head, sha256(b"elsewhere")
    candidate = builder.quorum(block)
    builder.head = head
    assert ids(appended(root, candidate, chain=chain)) == {"SC-CHAIN-064"}


def test_a_block_with_a_parent_from_another_history_is_found(root: Path) -> None:
    chain = started(root)
    builder = chain.builder
    head, builder.head = builder.head, sha256(b"elsewhere")
    block = builder.block(1, [builder.task("x")])
    builder.head = head
    assert ids(appended(root, builder.quorum(block), chain=chain)) == {"SC-CHAIN-051"}


def test_a_block_by_somebody_who_is_no_member_is_found(root: Path) -> None:
    chain = started(root)
    chain.builder.nodes[1] = signing_key(77, "intruder")
    block = chain.builder.block(1, [chain.builder.task("x")])
    assert ids(appended(root, chain.builder.quorum(block, [2, 3]), chain=chain)) == {"SC-CHAIN-053"}


def test_a_block_whose_signature_is_anothers_is_found(root: Path) -> None:
    chain = started(root)
    block = chain.builder.block(1, [chain.builder.task("x")])
    forged = replace(block, signature=bytes(64))
    assert ids(appended(root, chain.builder.quorum(forged), chain=chain)) == {"SC-CHAIN-054"}


def test_an_unsolved_puzzle_and_a_wrong_difficulty_are_found(root: Path, tmp_path: Path) -> None:
    chain = started(root)
    builder = chain.builder
    block = builder.block(1, [builder.task("x")])
    certificate = QuorumCertificate(
        block.id, builder.epoch.epoch, None, (builder.vote(1, block), builder.vote(2, block))
    )
    candidate = Candidate(block, Mode.QUORUM, certificate.encode(), builder.epoch.epoch)
    assert ids(appended(root, candidate, chain=chain)) == {"SC-CHAIN-057"}
    chain = started(tmp_path / "easy")
    chain.builder.settings = Settings(difficulty=Difficulty(value=0))
    block = chain.builder.block(1, [chain.builder.task("x")])
    assert ids(appended(tmp_path / "easy", chain.builder.quorum(block), chain=chain)) == {"SC-CHAIN-056"}


def test_a_poet_certificate_of_another_key_is_found(root: Path) -> None:
    chain = started(root)
    chain.builder.storage, storage = signing_key(5, "thief"), chain.builder.storage
    candidate = chain.builder.poet(chain.builder.block(1, [chain.builder.task("x")]))
    chain.builder.storage = storage
    assert ids(appended(root, candidate, chain=chain)) == {"SC-CHAIN-066"}


def test_annotations_that_the_storage_node_did_not_sign_are_found(root: Path) -> None:
    chain = started(root)
    candidate = chain.builder.poet(chain.builder.block(1, [chain.builder.task("x")]))
    forged = replace(candidate, annotations=(Annotation(0, Mark.CONTESTED, ("so they say",)),))
    assert ids(appended(root, forged, chain=chain)) == {"SC-CHAIN-067", "SC-TRACE-003"}


def test_a_verdict_cited_by_the_storage_node_that_does_not_hold_is_a_warning(root: Path) -> None:
    chain = started(root)
    block = chain.builder.block(1, [chain.builder.task("x")])
    bad = replace(chain.builder.vote(2, block, Vote.UNKNOWN), signature=bytes(64))
    result = appended(root, chain.builder.poet(block, votes=(bad,)), chain=chain)
    assert (result.verdict, result.exit_code, ids(result)) == (Verdict.WARNINGS, 0, {"SC-CHAIN-065"})


def test_a_repeated_transaction_is_found_unless_it_is_marked(root: Path) -> None:
    """Spec: SAFE-6."""
    with started(root) as chain:
        task = chain.builder.task("x")
        chain.block(1, [task])
        marks = (Annotation(0, Mark.DUPLICATE),)
        link = chain.append(chain.builder.poet(chain.builder.block(2, [task]), marks))
        chain.checkpoint()
    assert ids(verify_here(root)) == set()
    rewrite_last_link(root, chain, replace(link, annotations=()))
    assert "SC-CHAIN-040" in ids(verify_here(root))


def rewrite_last_link(root: Path, chain: DiskChain, link: Link) -> None:
    """Put another last link, its tree nodes and a checkpoint by the storage key, as a lying storage node can."""
    height = link.height
    leaves = [merkle.leaf_hash(get(root, keys.LINKS, keys.height_key(h))) for h in range(height)] + [link.hash]
    edits: list[tuple[str, bytes, bytes | None]] = [(keys.LINKS, keys.height_key(height), link.encode())]
    tree = merkle.CompactRange()
    for leaf in leaves:
        edits += [(keys.TREE, keys.node_key(level, index), node) for level, index, node in tree.append(leaf)]
    put(root, edits)
    note = Checkpoint(chain.builder.chain, height + 1, tree.root()).sign(chain.builder.storage)
    chain.layout.checkpoint.write_text(note.text())


def test_a_first_transaction_marked_as_duplicate_is_found(root: Path) -> None:
    with started(root) as chain:
        link = chain.append(chain.builder.poet(chain.builder.block(1, [chain.builder.task("x")])))
    rewrite_last_link(root, chain, replace(link, annotations=(Annotation(0, Mark.DUPLICATE),)))
    assert "SC-CHAIN-041" in ids(verify_here(root))


def test_clashing_keys_must_be_marked(root: Path) -> None:
    with started(root) as chain:
        first = chain.builder.task("x")
        chain.block(1, [first])
        second = replace(chain.builder.task("y"), key=first.key)
        link = chain.append(chain.builder.poet(chain.builder.block(2, [second]), (Annotation(0, Mark.KEY_CLASH),)))
        chain.checkpoint()
    assert ids(verify_here(root)) == set()
    rewrite_last_link(root, chain, replace(link, annotations=()))
    assert "SC-CHAIN-042" in ids(verify_here(root))


def test_a_clash_of_keys_that_is_none_is_found(root: Path) -> None:
    with started(root) as chain:
        link = chain.append(chain.builder.poet(chain.builder.block(1, [chain.builder.task("x")])))
    rewrite_last_link(root, chain, replace(link, annotations=(Annotation(0, Mark.KEY_CLASH),)))
    assert "SC-CHAIN-043" in ids(verify_here(root))


def contested_chain(root: Path, marks: tuple[Annotation, ...]) -> audit.Result:
    """A task that read something other than what was made."""
    chain = started(root)
    builder = chain.builder
    chain.block(1, [builder.task("make", [], [builder.artifact("a", b"made")])])
    reader = builder.task("read", [builder.artifact("a", b"changed")], [])
    candidate = builder.poet(builder.block(2, [reader]), marks, reason="conflict")
    return appended(root, candidate, chain=chain)


def test_an_input_that_nobody_recorded_must_be_contested(root: Path, tmp_path: Path) -> None:
    """Spec: SAFE-5."""
    assert ids(contested_chain(root, ())) == {"SC-TRACE-002"}
    contested = contested_chain(tmp_path / "marked", (Annotation(0, Mark.CONTESTED, ("a",)),))
    assert (contested.verdict, ids(contested)) == (Verdict.WARNINGS, {"SC-TRACE-001"})


def test_a_contested_transaction_in_mode_quorum_is_found(root: Path) -> None:
    chain = started(root)
    builder = chain.builder
    chain.block(1, [builder.task("make", [], [builder.artifact("a", b"made")])])
    reader = builder.task("read", [builder.artifact("a", b"changed")], [])
    candidate = replace(
        builder.quorum(builder.block(2, [reader])), annotations=(Annotation(0, Mark.CONTESTED, ("a",)),)
    )
    assert ids(appended(root, candidate, chain=chain)) == {"SC-CHAIN-069", "SC-TRACE-001"}


@pytest.mark.parametrize("marked", [True, False])
def test_an_unresolved_input_is_a_warning(root: Path, marked: bool) -> None:
    chain = started(root)
    waiting = chain.builder.artifact("never", b"made") | {"origin": "task:lost"}
    marks = (Annotation(0, Mark.UNRESOLVED, ("never",)),) if marked else ()
    candidate = chain.builder.poet(chain.builder.block(1, [chain.builder.task("x", [waiting])]), marks)
    assert ids(appended(root, candidate, chain=chain)) == ({"SC-TRACE-004"} if marked else {"SC-TRACE-005"})


def test_any_recorded_version_may_be_read_and_earlier_in_the_block_counts(root: Path) -> None:
    with started(root) as chain:
        builder = chain.builder
        chain.block(
            1,
            [
                builder.task("one", [], [builder.artifact("a", b"1")]),
                builder.task("two", [], [builder.artifact("a", b"2")]),
            ],
        )
        chain.block(
            2,
            [builder.task("three", [builder.artifact("a", b"1")]), builder.task("four", [builder.artifact("a", b"2")])],
        )
        chain.checkpoint()
    assert verify_here(root).verdict is Verdict.VERIFIED


def test_a_version_without_digest_leaves_the_question_open(root: Path) -> None:
    with started(root) as chain:
        builder = chain.builder
        chain.block(1, [builder.task("one", [], [builder.artifact("a")])])
        chain.block(2, [builder.task("two", [builder.artifact("a", b"x")])])
        chain.checkpoint()
    assert verify_here(root).verdict is Verdict.VERIFIED


def test_writer_epochs_do_not_go_backwards(root: Path) -> None:
    chain = started(root)
    chain.append(chain.builder.quorum(chain.builder.block(1, [chain.builder.task("x")])), writer=5)
    result = appended(root, chain.builder.quorum(chain.builder.block(2, [chain.builder.task("y")])), chain=chain)
    assert ids(result) == {"SC-CHAIN-045"}


def test_times_are_claims_and_never_judged(root: Path) -> None:
    chain = started(root)
    builder = chain.builder
    odd = Transaction(builder.chain, builder.key(), Kind.NOTE, builder.run, "node-1", 1, {"text": "from 1970"})
    assert ids(appended(root, builder.quorum(builder.block(1, [odd])), chain=chain)) == set()


def test_a_result_is_plain_json(root: Path) -> None:
    import json

    small_chain(root).close()
    value = verify_here(root).to_json()
    assert json.loads(json.dumps(value)) == value
    assert value["verdict"] == "VERIFIED"
    assert value["chain"] == digest_text(bytes.fromhex(value["chain"][7:]))

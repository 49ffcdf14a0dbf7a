"""Receipts and single runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from scichain_wf import audit
from scichain_wf.audit import Verdict
from scichain_wf.consensus import membership
from scichain_wf.errors import DecodeError, LedgerError, UnsupportedVersion, UsageError
from scichain_wf.hooks.completeness import recorded_tasks
from scichain_wf.model import manifest
from scichain_wf.model.bodies import Kind
from scichain_wf.model.text import digest_text, public_key_text
from scichain_wf.model.transaction import RunId
from tests.builders import signing_key
from tests.chains import DiskChain, small_chain, write_files
from tests.unit.audit.support import ids, started


@pytest.fixture
def chain(tmp_path: Path) -> DiskChain:
    with small_chain((tmp_path / "work").resolve() / ".scichain") as made:
        write_files(made)
    return made


def file_of(chain: DiskChain, name: str) -> Path:
    return chain.root.parent / "out" / name


def test_a_receipt_verifies_with_the_trust_root_alone(chain: DiskChain, tmp_path: Path) -> None:
    """Spec: AUD-1."""
    for name in ("1.txt", "5.txt", "9.txt"):  # quorum, POET, quorum
        receipt = audit.make_receipt(chain.root, file_of(chain, name))
        moved = tmp_path / "moved"
        moved.write_bytes(file_of(chain, name).read_bytes())
        result = audit.verify_receipt(receipt, digest_text(chain.builder.chain), moved)
        assert (result.verdict, result.findings) == (Verdict.VERIFIED, ())
        moved.write_text("edited")
        assert ids(audit.verify_receipt(receipt, chain.builder.chain, moved)) == {"SC-FILE-001"}


def test_a_receipt_of_another_chain_or_without_trust_root(chain: DiskChain) -> None:
    receipt = audit.make_receipt(chain.root, file_of(chain, "1.txt"))
    assert ids(audit.verify_receipt(receipt, bytes(32))) == {"SC-CHAIN-090"}
    assert {f.id for f in audit.verify_receipt(receipt, None).findings} == {"SC-CONF-001"}


def test_a_receipt_survives_key_rotations(tmp_path: Path) -> None:
    """Spec: AUD-1."""
    root = (tmp_path / "work").resolve() / ".scichain"
    with started(root) as chain:
        builder = chain.builder
        chain.block(1, [builder.task("x", [], [builder.artifact("out/a", b"a")])])
        for number in range(3):
            new = signing_key(number, "storage")
            epoch = membership.restated(builder.epoch, builder.authority, builder.chain, 3, storage=new.public)
            chain.append(builder.epoch_candidate(epoch))
            builder.storage = new
        chain.checkpoint()
    receipt = audit.make_receipt(root, root.parent / "out/a")
    assert audit.verify_receipt(receipt, builder.chain).verdict is Verdict.VERIFIED


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list) and item:
            yield from leaves(item)
        else:
            yield value, key


def test_every_altered_field_of_a_receipt_is_found(chain: DiskChain) -> None:
    receipt = audit.make_receipt(chain.root, file_of(chain, "5.txt"))
    survived = []
    for number in range(len(list(leaves(orjson.loads(receipt))))):
        value = orjson.loads(receipt)
        holder, key = list(leaves(value))[number]
        old = holder[key]
        if isinstance(old, str) and old:
            new: object = old[:-1] + ("0" if old[-1] != "0" else "1")
        else:
            new = old + 1 if isinstance(old, int) else None if old is not None else "x"
        if new == old:
            continue
        holder[key] = new
        try:
            result = audit.verify_receipt(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), chain.builder.chain)
        except DecodeError:
            continue
        if result.exit_code == 0:
            survived.append((key, old))
    assert survived == []


def test_what_is_no_receipt_is_refused(chain: DiskChain) -> None:
    with pytest.raises(DecodeError):
        audit.verify_receipt(b"{}", None)
    receipt = orjson.loads(audit.make_receipt(chain.root, file_of(chain, "1.txt"))) | {"version": 2}
    with pytest.raises(UnsupportedVersion):
        audit.verify_receipt(orjson.dumps(receipt, option=orjson.OPT_SORT_KEYS), None)


def test_no_receipt_is_made_for_what_is_not_recorded_or_not_signed(chain: DiskChain) -> None:
    with pytest.raises(UsageError, match="nothing is recorded"):
        audit.make_receipt(chain.root, file_of(chain, "nothing"))
    chain.layout.checkpoint.unlink()
    with pytest.raises(LedgerError, match="checkpoint"):
        audit.make_receipt(chain.root, file_of(chain, "1.txt"))


def test_a_run_is_verified_with_counts_of_its_own(chain: DiskChain) -> None:
    result = audit.verify_run(chain.root, chain.builder.run.hex(), jobs=1)
    assert result.verdict is Verdict.VERIFIED
    counts = {"tasks": 12, "transactions": 14, "transactions-poet": 4, "transactions-quorum": 10}
    assert dict(result.counts) == counts


def test_an_unknown_run_is_incomplete_and_nonsense_is_a_usage_error(chain: DiskChain) -> None:
    result = audit.verify_run(chain.root, "12" * 16, jobs=1)
    assert (result.exit_code, ids(result)) == (3, {"SC-RUN-001"})
    with pytest.raises(UsageError):
        audit.verify_run(chain.root, "run one")


def test_what_a_run_lacks_is_named(tmp_path: Path) -> None:
    with DiskChain(tmp_path / "chain") as chain:
        builder = chain.builder
        chain.block(1, [builder.task("x")])
        chain.checkpoint()
        root, run = chain.root, builder.run
        chain.close()
        assert ids(audit.verify_run(root, run, jobs=1)) == {"SC-RUN-002", "SC-RUN-003"}


def test_a_tally_that_disagrees_and_late_records_are_named(tmp_path: Path) -> None:
    with started(tmp_path / "chain") as chain:
        builder = chain.builder
        chain.block(1, [builder.task("x"), builder.run_end(3)])
        chain.block(2, [builder.task("y")])
        chain.checkpoint()
    result = audit.verify_run(chain.root, builder.run, jobs=1)
    assert (result.verdict, ids(result)) == (Verdict.WARNINGS, {"SC-RUN-004", "SC-RUN-005"})


@pytest.mark.parametrize("is_forged", [False, True])
def test_an_end_of_a_run_that_its_author_did_not_sign_is_an_error(tmp_path: Path, is_forged: bool) -> None:
    """Almost: the author ends two runs in one block, and nobody signs a third one's."""
    author, other = signing_key(1, "author"), signing_key(1, "other")
    with started(tmp_path / "chain") as chain:
        builder = chain.builder
        ends = [builder.run_end(0)]
        for signer in (author, other if is_forged else author):
            builder.run = RunId(builder.key())
            signed: dict[str, Any] = manifest.sign(signer, builder.chain, builder.run, builder.run_end(0).body)
            signed["author_signature"]["key"] = public_key_text(author.public.raw)
            ends += [builder.run_start(), builder.transaction(Kind.RUN_END, signed)]
        chain.block(1, ends)
        chain.checkpoint()
    result = audit.verify_run(chain.root, builder.run, jobs=1)
    assert (ids(result), result.exit_code) == (({"SC-RUN-009"}, 1) if is_forged else (set(), 0))


def test_recorded_tasks_of_a_run_are_found_on_its_chain(tmp_path: Path) -> None:
    with started(tmp_path / "chain") as chain:
        chain.block(1, [chain.builder.task("x"), chain.builder.task("y")])
        chain.checkpoint()
    assert recorded_tasks(chain.root, chain.builder.run) == {"x", "y"}
    assert recorded_tasks(chain.root, bytes(16)) == set()

"""Checkpoints that agents cosign which others start: what is kept of them, and what is made up in their name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scichain_wf import audit
from scichain_wf.audit import Result
from scichain_wf.client.outbox import OutboxWriter, outbox_directory
from scichain_wf.client.trustroot import read_trust_root
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.checkpoint import Checkpoint
from tests.builders import signing_key
from tests.integration.service_kit import Records, committed, wait_until
from tests.integration.test_services import read_until, started


def cosigned_up_to(chain: Path, height: int) -> Checkpoint:
    """A checkpoint over the link at `height` with the lines of both slots."""
    seen: list[Checkpoint] = []

    def look() -> bool:
        seen.append(Checkpoint.parse(ChainLayout(chain).checkpoint.read_bytes()))
        names = {signature.name for signature in seen[-1].signatures}
        return seen[-1].size > height and {seen[-1].slot_name(slot) for slot in (1, 2)} <= names

    wait_until(look, "both cosignatures")
    return seen[-1]


def append(chain: Path, count: int) -> int:
    """Commit so many records, which slot 1 takes in; where the last of them is."""
    root = read_trust_root(chain)
    records = Records(root).tasks(count)
    for record in records:
        OutboxWriter(outbox_directory(root, 1)).append(record.encode())
    wait_until(lambda: {record.id for record in records} <= committed(chain).keys(), "commits")
    return max(height for places in committed(chain).values() for height, _ in places)


def test_a_kept_checkpoint_carries_what_agents_signed_that_others_started(tmp_path: Path) -> None:
    """Spec: SAFE-7. The chain goes on; then somebody makes a line up, or puts another slot's name over one."""
    chain = tmp_path / "chain"
    with started("storage", "--chain", chain, "--slots", "2") as storage:
        read_until(storage, "tokens")
        node = ("node", "--chain", chain, "--slot")
        with started(*node, "1") as one, started(*node, "2") as two:
            for process in (one, two):
                read_until(process, "joined")
            kept = cosigned_up_to(chain, append(chain, 3))
            last = cosigned_up_to(chain, append(chain, 1))
    assert (one.returncode, two.returncode, storage.returncode) == (0, 0, 0)
    ours = {signature.name: signature for signature in kept.signatures}
    first, second = (ours[kept.slot_name(slot)] for slot in (1, 2))
    others = tuple(signature for signature in kept.signatures if signature is not second)
    renamed = replace(kept, signatures=(*others, replace(first, name=second.name)))
    made_up = replace(kept, signatures=others).cosign(signing_key(9, "thief"), 2, 1_750_000_000)

    def verified(note: Checkpoint) -> Result:
        return audit.verify_chain(chain, trust_root=read_trust_root(chain), checkpoint=note.text(), jobs=1)

    result = verified(kept)
    assert result.head is not None
    assert (result.head.cosigned, result.head.checkpoint_size) == ((1, 2), last.size)
    for note, expected in ((kept, set()), (renamed, {"SC-CHAIN-099"}), (made_up, {"SC-CHAIN-099"})):
        found = {finding.id for finding in verified(note).findings if finding.id.startswith("SC-CHAIN")}
        assert found == expected

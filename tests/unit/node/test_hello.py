"""How an agent's channel begins: its hello, held against the chain, and the welcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import membership
from scichain_wf.consensus.events import Presented
from scichain_wf.crypto import merkle
from scichain_wf.errors import PeerError
from scichain_wf.ledger.view import ChainView
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.node import hello, wire
from scichain_wf.node.hello import Hello
from tests.builders import ChainBuilder, signing_key
from tests.chains import DiskChain

R = limits.RETARGET_LINKS


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskChain]:
    """2·R + 5 links."""
    builder = ChainBuilder(slots=1, settings=Settings(difficulty=Difficulty(value=0)))
    with DiskChain(tmp_path_factory.mktemp("hello") / "chain", builder) as made:
        while builder.height < 2 * R + 4:
            made.block(1, [builder.task(f"t{builder.height}")])
        yield made


@pytest.fixture
def view(chain: DiskChain) -> Iterator[ChainView]:
    with chain.store.view() as opened:
        yield opened


def said(**more: object) -> dict[str, object]:
    """A HELLO of slot 3, as it comes off the wire."""
    issued = membership.issue_token(signing_key(1, "a"), bytes(32), 1, 3, signing_key(1, "t"))
    join = membership.bind(issued, bytes(32), signing_key(1, "k").public, "host")
    value = wire.join_value(join) | {"address": ["10.0.0.5", 5], "next": 7} | more
    return wire.decoded(wire.encoded({name: item for name, item in value.items() if item is not None}))


def note_of(made: DiskChain, size: int, **changes: object) -> Checkpoint:
    """A checkpoint of the chain's first links, or of others, signed by its storage node."""
    with made.store.view() as view:
        note = Checkpoint(view.chain_id, size, view.root(size) if size <= view.size else b"r" * 32)
    return replace(note, **changes).sign(made.builder.storage)  # type: ignore[arg-type]


def claims(view: ChainView, chain: DiskChain, value: dict[str, object]) -> list[Presented]:
    return hello.presented(view, Hello.from_value(value), chain.builder.storage.public)


def test_a_hello_comes_back_from_the_wire(chain: DiskChain) -> None:
    note = note_of(chain, 5)
    first, later = Hello.from_value(said()), Hello.from_value(said(height=6, head="ab" * 32, checkpoint=note.text()))
    assert [first.join.slot, first.address, first.next] == [3, ("10.0.0.5", 5), 7]
    assert [first.head, first.checkpoint] == [None, None]
    assert [later.head, later.checkpoint] == [(6, b"\xab" * 32), note]


@pytest.mark.parametrize(
    "change",
    [
        {"next": -1},
        {"next": None},
        {"address": 5},
        {"token": "zz"},
        {"head": "zz", "height": 1},
        {"head": "ab", "height": 1},
        {"head": "ab" * 32},
        {"checkpoint": 5},
        {"checkpoint": "what"},
        {"checkpoint": "\ud800"},
    ],
)
def test_a_malformed_hello_is_the_agents_fault(change: dict[str, object]) -> None:
    with pytest.raises(PeerError):
        Hello.from_value(said(**change))


def test_who_has_nothing_claims_nothing(chain: DiskChain, view: ChainView) -> None:
    assert claims(view, chain, said()) == []


def test_a_newest_link_is_held_against_the_chain(chain: DiskChain, view: ChainView) -> None:
    """Spec: SAFE-7. Here, another one, and beyond the end; it is the agent's word."""
    own, beyond = view.tree_node(0, 4), view.size
    for height, head, here in ((4, own, own), (4, b"h" * 32, own), (beyond, own, None)):
        found = claims(view, chain, said(height=height, head=head.hex()))
        assert found == [Presented(3, height, head, here, proven=False)]


def test_a_checkpoint_is_proof_where_this_node_signed_it(chain: DiskChain, view: ChainView) -> None:
    """Spec: SAFE-7."""
    root, beyond = view.root(5), view.size + 1
    for note, claimed in (
        (note_of(chain, 5), Presented(3, 4, root, root)),
        (note_of(chain, 5, root=b"o" * 32), Presented(3, 4, b"o" * 32, root)),
        (note_of(chain, beyond), Presented(3, beyond - 1, b"r" * 32, None)),
    ):
        assert claims(view, chain, said(checkpoint=note.text())) == [claimed]
    for note in (
        note_of(chain, beyond, chain=bytes(32)),
        Checkpoint(view.chain_id, beyond, root).sign(signing_key(5, "another")),
    ):
        assert claims(view, chain, said(checkpoint=note.text())) == []


@pytest.mark.parametrize("start", [0, 1, R, R + 1, 2 * R, 2 * R + 1, 2 * R + 5])
def test_a_welcome_says_where_the_chain_begins(view: ChainView, start: int) -> None:
    value = hello.welcome(view, start)
    nodes = [bytes.fromhex(node) for node in value["nodes"]]  # type: ignore[attr-defined]
    tree = merkle.CompactRange(start, tuple(nodes))
    assert value["size"] == start
    if start:
        assert tree.root() == view.root(start)
    anchors = dict(value["anchors"])  # type: ignore[call-overload]
    assert anchors == {height: view.link(height).time_us for height in anchors}
    newest = (start - 1) // R * R if start else 0
    assert set(anchors) == {height for height in (newest - R, newest) if 0 <= height < start}

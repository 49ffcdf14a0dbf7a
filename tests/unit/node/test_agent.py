"""What an agent makes of a peer's frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scichain_wf.consensus import events, messages
from scichain_wf.errors import DecodeError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.certificate import Solution
from scichain_wf.model.verdict import VerdictBatch
from scichain_wf.node.agent import AgentNode, peer_event
from scichain_wf.node.launch import Launch, agent_line
from scichain_wf.transport.runca import RunAuthority
from tests.builders import ChainBuilder


@pytest.fixture
def build() -> ChainBuilder:
    build = ChainBuilder()
    build.chain, build.head, build.height = b"c" * 32, b"h" * 32, 0
    build.join_all()
    return build


@pytest.fixture
def node(build: ChainBuilder, private: Path) -> Iterator[AgentNode]:
    """Slot 1, not running."""
    launch = Launch(build.chain, ChainLayout(private), build.authority, build.storage, build.epoch, build.epoch)
    ticket = launch.ticket(1, RunAuthority("test"))
    made = AgentNode(agent_line(ticket, ChainLayout(private), ("127.0.0.1", 1), "127.0.0.1", (0, 0), private, []))
    yield made
    made._tail.close()


def test_what_peers_say_reaches_the_core(build: ChainBuilder) -> None:
    block = build.block(2, [build.task("a")])
    vote = build.vote(2, block)
    batch = VerdictBatch(vote.header, vote.signature, (vote.entry,))
    puzzle, found = messages.Puzzle(block.id, 1), messages.Found(block.id, Solution(bytes(32), 1, bytes(64)))
    sent: list[tuple[messages.Message, events.AgentEvent]] = [
        (messages.Propose(block), events.ProposalReceived(2, prepared(block))),
        (messages.Verdicts(batch), events.VerdictsReceived(2, batch)),
        (puzzle, events.PuzzleReceived(2, puzzle)),
        (found, events.SolutionReceived(2, found)),
    ]
    for message, event in sent:
        assert peer_event(2, message.kind, message.encode()) == event


def test_what_cannot_be_read_or_is_for_others_is_counted_and_refused(node: AgentNode, build: ChainBuilder) -> None:
    """The refusal ends the channel; the count says so afterwards, with all other reasons."""
    garbled = messages.Propose(build.block(2, [build.task("a")]))
    answer = messages.Answer(bytes(32), "refused")
    frames = [
        (messages.Kind.VERDICTS, b"{}"),
        (messages.Kind.PROPOSE, garbled.encode()[:-1]),
        (answer.kind, answer.encode()),
        (messages.Sync(1).kind, messages.Sync(1).encode()),
        (200, b""),
    ]
    for kind, payload in frames:
        with pytest.raises(DecodeError):
            node._from_peer(2, kind, payload)
    assert node._core.dropped == {"malformed message": len(frames)}
    assert node._core.height == -1

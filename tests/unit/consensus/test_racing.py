"""The first to solve a block's puzzle wins (mining = race)."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import effects, events, messages
from scichain_wf.consensus.roster import solution_statement
from scichain_wf.crypto import puzzle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model import certificate
from scichain_wf.model.certificate import QuorumCertificate, Solution
from scichain_wf.model.epoch import Settings
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import sent

RACE = Settings(mining="race")


def a_race() -> Cluster:
    """Slot 1 has a block whose puzzle everybody searches."""
    cluster = Cluster(settings=RACE)
    cluster.hold_mining = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)
    return cluster


def solution(cluster: Cluster, solver: int, signer: int | None = None, step: int = 0) -> Solution:
    """Of slot 1's block."""
    identity = cluster.nodes[1].mining[0].block
    key = cluster.builder.nodes[solver]
    nonce = puzzle.solve(identity, key.public.fingerprint, 1)
    assert nonce is not None
    signature = cluster.builder.nodes[signer or solver].sign(Domain.PUZZLE, solution_statement(identity, nonce))
    return Solution(key.public.fingerprint, nonce + step, signature)


def solver_of(cluster: Cluster) -> bytes:
    (link,) = cluster.links()
    found = certificate.decode(cluster.certificates[link.height] or b"")
    assert isinstance(found, QuorumCertificate)
    assert found.solution is not None
    return found.solution.solver


@pytest.mark.parametrize("winner", [1, 2, 3])
def test_whoever_solves_it_first_is_named_in_the_certificate(winner: int) -> None:
    """SciChain §4.2: nodes compete, the first one's solution is taken."""
    cluster = a_race()
    assert [len(node.mining) for node in cluster.nodes.values()] == [1, 1, 1]
    cluster.mine(winner)
    cluster.run(1)
    assert cluster.modes() == ["quorum"]
    assert solver_of(cluster) == cluster.builder.nodes[winner].public.fingerprint
    assert [node.mining for node in cluster.nodes.values()] == [[], [], []]  # the others have stopped
    assert all(not +node.agent.dropped for node in cluster.nodes.values())


def test_who_comes_second_comes_in_vain() -> None:
    cluster = a_race()
    late = solution(cluster, 2)
    identity = cluster.nodes[1].mining[0].block
    cluster.mine(1)
    cluster.mine(3)
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Push)
    cluster.run(0.5)
    cluster.feed(1, events.SolutionReceived(2, messages.Found(identity, late)))
    cluster.feed(1, events.Solved(1, identity, 0))
    assert cluster.nodes[1].agent.dropped == {"puzzle solved": 2}
    assert cluster.nodes[1].agent.in_flight == 1


def test_solutions_that_are_none_are_dropped() -> None:
    cluster = a_race()
    identity = cluster.nodes[1].mining[0].block
    agent = cluster.nodes[1].agent
    good = solution(cluster, 2)
    for slot, found, reason in (
        (2, messages.Found(bytes(32), good), "unknown block"),
        (3, messages.Found(identity, good), "wrong slot"),
        (1, messages.Found(identity, solution(cluster, 1)), "wrong slot"),
        (2, messages.Found(identity, Solution(bytes(32), 1, good.signature)), "wrong slot"),
        (2, messages.Found(identity, solution(cluster, 2, signer=3)), "bad solution"),
        (2, messages.Found(identity, solution(cluster, 2, step=1)), "bad solution"),
    ):
        agent.dropped.clear()
        assert agent.step(events.SolutionReceived(slot, found), cluster.now) == ()
        assert agent.dropped == {reason: 1}
    given = agent.step(events.SolutionReceived(2, messages.Found(identity, good)), cluster.now)
    assert effects.StopMining(1, identity) in given
    assert [slot for slot, _ in sent(given, messages.Propose)] == [2, 3]


def test_puzzles_that_are_not_to_be_searched_are_dropped() -> None:
    race, own = Cluster(settings=RACE), Cluster()
    solved = prepared(race.builder.block(2, [race.builder.task("a")]))
    race.nodes[1].agent.step(events.ProposalReceived(2, solved), race.now)
    linked = race.chain.links[-1].block
    for cluster, slot, message, reason in (
        (race, 1, messages.Puzzle(bytes(32), 1), "wrong slot"),
        (race, 9, messages.Puzzle(bytes(32), 1), "not a member"),
        (race, 2, messages.Puzzle(bytes(32), 2), "wrong difficulty"),
        (race, 2, messages.Puzzle(solved.block.id, 1), "puzzle solved"),
        (race, 2, messages.Puzzle(linked, 1), "puzzle solved"),
        (own, 2, messages.Puzzle(bytes(32), 1), "not a race"),
    ):
        agent = cluster.nodes[1].agent
        agent.dropped.clear()
        given = agent.step(events.PuzzleReceived(slot, message), cluster.now)
        assert not [effect for effect in given if isinstance(effect, effects.Mine)]
        assert agent.dropped == {reason: 1}
    race.restart(1)
    race.run(0.1)
    race.nodes[1].agent.dropped.clear()
    race.feed(1, events.PuzzleReceived(2, messages.Puzzle(bytes(32), 1)))
    assert race.nodes[1].agent.dropped == {"not a member": 1}


def ask(cluster: Cluster, to: int, slot: int, block: bytes, difficulty: int = 1) -> None:
    cluster.feed(to, events.PuzzleReceived(slot, messages.Puzzle(block, difficulty)))


def searched(cluster: Cluster, slot: int) -> list[tuple[int, bytes]]:
    return [(mine.slot, mine.block) for mine in cluster.nodes[slot].mining]


def an_idle_race() -> Cluster:
    cluster = Cluster(settings=RACE)
    cluster.hold_mining = True
    return cluster


BLOCKS = [bytes([number]) * 32 for number in range(8)]


def test_searches_are_bounded_and_the_others_wait_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PUZZLES_MAX", 2)
    cluster = an_idle_race()
    agent = cluster.nodes[1].agent
    for slot, block in ((2, BLOCKS[0]), (2, BLOCKS[1]), (3, BLOCKS[2]), (3, BLOCKS[3]), (2, BLOCKS[4])):
        ask(cluster, 1, slot, block)
    assert searched(cluster, 1) == [(2, BLOCKS[0]), (2, BLOCKS[1])]
    cluster.feed(1, events.Solved(2, BLOCKS[1], None))  # it was given up: another begins, nothing is said of it
    assert searched(cluster, 1) == [(2, BLOCKS[0]), (3, BLOCKS[2])]
    cluster.feed(1, events.PeerDown(3))  # what waits for nobody does not begin
    assert searched(cluster, 1) == [(2, BLOCKS[0]), (2, BLOCKS[4])]
    assert agent.step(events.Solved(2, BLOCKS[1], 1), cluster.now) == ()
    assert agent.step(events.Solved(3, BLOCKS[3], 1), cluster.now) == ()


def test_a_slot_that_asks_for_too_much_takes_nothing_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes up puzzles as fast as it can; those of an honest slot are searched all the same."""
    monkeypatch.setattr(limits, "PUZZLES_PER_SLOT_MAX", 2)
    cluster = an_idle_race()
    ask(cluster, 1, 2, BLOCKS[0])
    for block in BLOCKS[1:]:
        ask(cluster, 1, 3, block)
    ask(cluster, 1, 2, BLOCKS[0])
    ask(cluster, 1, 2, BLOCKS[1])
    assert searched(cluster, 1) == [(2, BLOCKS[0]), (3, BLOCKS[1]), (3, BLOCKS[2]), (2, BLOCKS[1])]
    assert cluster.nodes[1].agent.dropped == {"too many puzzles": 5, "puzzle replayed": 1}
    cluster.feed(1, events.Solved(3, BLOCKS[1], None))
    ask(cluster, 1, 3, BLOCKS[7])
    assert searched(cluster, 1)[-1] == (3, BLOCKS[7])  # one ended: there is room for another


def test_the_solution_goes_to_whoever_asked_and_a_copy_takes_nothing_from_it() -> None:
    """A liar that asks first for the honest slot's block, with less difficulty, gets nothing that is another's."""
    cluster = Cluster(settings=Settings(mining="race", difficulty=type(RACE.difficulty)("fixed", 2)))
    cluster.hold_mining = True
    ask(cluster, 1, 3, BLOCKS[0], 1)
    ask(cluster, 1, 2, BLOCKS[0], 2)
    mine = cluster.nodes[1].mining
    assert [(m.slot, m.difficulty) for m in mine] == [(3, 1), (2, 2)]
    assert [m.attempts_max for m in mine] == [limits.PUZZLE_ATTEMPTS_FACTOR * hashes for hashes in (16, 256)]
    given = cluster.nodes[1].agent.step(events.Solved(3, BLOCKS[0], 5), cluster.now)
    ((slot, _),) = sent(given, messages.Found)
    assert slot == 3
    given = cluster.nodes[1].agent.step(events.Solved(2, BLOCKS[0], 6), cluster.now)
    ((slot, found),) = sent(given, messages.Found)
    assert slot == 2
    assert isinstance(found, messages.Found)
    assert [found.block, found.solution.nonce] == [BLOCKS[0], 6]


def test_a_linked_or_proposed_block_ends_every_search_for_it() -> None:
    cluster = an_idle_race()
    block = prepared(cluster.builder.block(2, [cluster.builder.task("a")]))
    for slot, asked in ((3, block.block.id), (2, block.block.id), (3, BLOCKS[0])):
        ask(cluster, 1, slot, asked)
    cluster.feed(1, events.ProposalReceived(2, block))
    assert searched(cluster, 1) == [(3, BLOCKS[0])]


def test_nobody_helps_a_peer_with_an_own_block() -> None:
    """Its nonce of less difficulty must never be taken for the block's own."""
    cluster = a_race()
    ((_, own),) = searched(cluster, 1)
    ask(cluster, 1, 3, own)
    assert searched(cluster, 1) == [(1, own)]
    assert cluster.nodes[1].agent.dropped == {"wrong slot": 1}
    cluster.feed(1, events.Solved(3, own, 0))  # a search that this node never began
    cluster.feed(1, events.Solved(1, own, None))  # an own search is not given up; if it is, nothing is solved
    assert cluster.modes() == []
    cluster.mine(1)
    cluster.run(1)
    assert cluster.modes() == ["quorum"]


def test_nobody_searches_for_a_peer_that_is_gone() -> None:
    cluster = a_race()
    cluster.feed(2, events.PuzzleReceived(3, messages.Puzzle(bytes(32), 1)))
    cluster.feed(2, events.PeerDown(1))
    assert [mine.block for mine in cluster.nodes[2].mining] == [bytes(32)]


def test_without_a_puzzle_there_is_nothing_to_race_for() -> None:
    cluster = Cluster(settings=Settings(mining="race", difficulty=type(RACE.difficulty)("fixed", 0)))
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    assert cluster.modes() == ["quorum"]


def test_a_block_whose_miner_left_the_epoch_meanwhile_is_proposed_when_it_is_back() -> None:
    """Between the statement of a new list and the join everybody is out of it. Spec: LIVE-1."""
    cluster = a_race()
    build = cluster.builder
    statement, join = build.join_all()
    cluster.append_epoch(statement.block)
    cluster.run(0.1)
    assert not cluster.nodes[1].agent.is_member
    cluster.mine(1)
    cluster.run(0.1)
    assert cluster.modes() == []
    cluster.append_epoch(join.block)
    cluster.run(1)
    assert cluster.modes() == ["quorum"]

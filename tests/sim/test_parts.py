"""Keys, ledgers, disk and settings of a simulated world."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from scichain_wf.consensus.validity import Known
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import ConfigError, InvariantViolation, VerificationError
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.disk import Disk
from scichain_wf.sim.kernel import Kernel
from scichain_wf.sim.keys import SimKeys
from scichain_wf.sim.ledgers import ChainView, Histories, History, NodeView
from tests.builders import ChainBuilder

X, Y, Z = (sha256(name) for name in (b"x", b"y", b"z"))


# --- keys -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("real", [False, True])
def test_a_signature_holds_for_its_key_domain_and_bytes_only(real: bool) -> None:
    keys = SimKeys(real=real)
    key, other = keys.make("a"), keys.make("b")
    signature = key.sign(Domain.BLOCK, b"data")
    assert len(signature) == 64
    assert key.public.is_valid(Domain.BLOCK, signature, b"data")
    assert keys.is_valid(key.public.raw, "block", signature, b"data")
    assert not keys.is_valid(other.public.raw, "block", signature, b"data")
    for domain, made, data in (
        (Domain.PUZZLE, signature, b"data"),
        (Domain.BLOCK, signature, b"date"),
        (Domain.BLOCK, bytes([signature[0] ^ 1]) + signature[1:], b"data"),
        (Domain.BLOCK, b"", b"data"),
    ):
        assert not key.public.is_valid(domain, made, data)
        with pytest.raises(VerificationError):
            key.public.verify(domain, made, data)
    assert not other.public.is_valid(Domain.BLOCK, signature, b"data")
    assert keys.signed == 1
    assert keys.verified == 10


def test_a_key_is_the_same_for_the_same_name_and_real_keys_are_ed25519() -> None:
    cheap, real = SimKeys(real=False), SimKeys(real=True)
    assert cheap.make("a").public == cheap.make("a").public
    assert cheap.make("a").public != cheap.make("b").public
    assert cheap.make("a").public.raw == real.make("a").public.raw
    signature = real.make("a").sign(Domain.BLOCK, b"data")
    assert VerifyKey.from_bytes(real.make("a").public.raw).is_valid(Domain.BLOCK, signature, b"data")
    assert cheap.make("a").sign(Domain.BLOCK, b"data") != signature
    assert not SimKeys(real=False).is_valid(cheap.make("a").public.raw, "block", signature, b"data")


# --- ledgers ----------------------------------------------------------------------------------------
class Chain:
    """Blocks and links over them, one task each, whose outputs are (name, digest)."""

    def __init__(self, seed: int = 1) -> None:
        self.builder = ChainBuilder(slots=1, seed=seed)
        self.links: list[tuple[Link, PreparedBlock]] = []

    def add(self, *outputs: tuple[str, bytes | None], marks: tuple[Annotation, ...] = ()) -> tuple[Link, PreparedBlock]:
        made = [self.builder.artifact(name, content) for name, content in outputs]
        task = self.builder.task(f"task {len(self.links)}", outputs=made)
        block = prepared(self.builder.block(1, [task]))
        previous = self.links[-1][0].hash if self.links else bytes(32)
        link = Link(len(self.links), previous, block.block.id, None, Mode.EPOCH, 0, marks, 1, self.builder.tick())
        self.links.append((link, block))
        return link, block

    def uri(self, name: str) -> str:
        return str(self.builder.artifact(name)["uri"])


@pytest.fixture
def chain() -> Chain:
    """Links 0 to 5: a=x, b=x, a=y, nothing, c unhashed, a=z."""
    chain = Chain()
    for outputs in ([("a", b"x")], [("b", b"x")], [("a", b"y")], [], [("c", None)], [("a", b"z")]):
        chain.add(*outputs)
    return chain


def viewed(chain: Chain, tail_links: int, start: int = 0) -> NodeView:
    histories = Histories()
    for link, block in chain.links[:start]:
        histories.all[0].add(link, block, None)
    view = NodeView(histories, tail_links, lambda _: None)
    for link, block in chain.links[start:]:
        view.apply(link, block)
    return view


def test_a_view_knows_what_its_links_record(chain: Chain) -> None:
    histories = Histories()
    short, long = (NodeView(histories, 100, lambda _: None) for _ in range(2))
    assert long.lookup(chain.uri("a"), X) is Known.UNKNOWN
    for link, block in chain.links:
        long.apply(link, block)
    for link, block in chain.links[:2]:
        short.apply(link, block)
    assert (short.height, long.height) == (1, 5)
    for name, digest, early, late in (
        ("a", X, Known.KNOWN, Known.KNOWN),
        ("a", Y, Known.OTHER, Known.KNOWN),
        ("a", sha256(b"w"), Known.OTHER, Known.OTHER),
        ("c", X, Known.NEW, Known.UNHASHED),
        ("d", X, Known.NEW, Known.NEW),
    ):
        assert short.lookup(chain.uri(name), digest) is early, name
        assert long.lookup(chain.uri(name), digest) is late, name
    assert len(histories.all) == 1
    assert [long.link_hash(height) for height in (-1, 0, 5, 6)] == [
        None,
        chain.links[0][0].hash,
        chain.links[5][0].hash,
        None,
    ]
    assert short.link_hash(2) is None


def test_a_view_finds_transactions_it_applied(chain: Chain) -> None:
    view = viewed(chain, 2)
    for height, held in ((5, True), (4, True), (3, False)):
        block = chain.links[height][1]
        key, identity = bytes.fromhex(str(block.parsed[0]["key"])), block.leaves[0]
        assert view.contains(key, identity) is held
        assert view.clashes(key, X) is held
        assert not view.clashes(key, identity)


def test_below_its_tail_a_view_knows_only_what_was_produced(chain: Chain) -> None:
    view = viewed(chain, 2)  # links 4 and 5
    assert view.floor == 4
    assert not view.needs_past
    assert view.lookup(chain.uri("a"), Z) is Known.KNOWN
    assert view.lookup(chain.uri("a"), X) is Known.UNKNOWN
    assert view.lookup(chain.uri("b"), X) is Known.UNKNOWN
    assert view.lookup(chain.uri("c"), X) is Known.UNHASHED
    assert view.lookup(chain.uri("d"), X) is Known.NEW
    assert view.link_hash(3) is None


def test_a_view_that_began_late_needs_the_filter(chain: Chain) -> None:
    view = viewed(chain, 100, start=4)
    wants = [view.needs_past]
    assert view.lookup(chain.uri("d"), X) is Known.UNKNOWN
    assert view.lookup(chain.uri("a"), Z) is Known.KNOWN
    for height in (3, 4):
        assert view.adopt(height) is (height == 4)
        wants.append(view.needs_past)
    assert wants == [True, True, False]
    assert view.lookup(chain.uri("d"), X) is Known.NEW
    assert view.lookup(chain.uri("b"), Y) is Known.UNKNOWN


def test_duplicates_record_nothing() -> None:
    chain = Chain()
    chain.add(("a", b"x"), marks=(Annotation(0, Mark.DUPLICATE),))
    view = viewed(chain, 10)
    block = chain.links[0][1]
    assert view.lookup(chain.uri("a"), X) is Known.NEW
    assert not view.contains(bytes.fromhex(str(block.parsed[0]["key"])), block.leaves[0])


def test_two_histories_do_not_mix() -> None:
    """Storage went back to link 1 and appended another link 2: who has the first keeps it."""
    chain, other = Chain(), Chain()
    for name in ("a", "b"):
        chain.add((name, b"x"))
    other.links = list(chain.links)
    chain.add(("c", b"x"))
    other.builder.tick()
    other.add(("d", b"x"))
    histories = Histories()
    views = [NodeView(histories, 100, lambda _: None) for _ in range(2)]
    for view, links in zip(views, (chain.links, other.links), strict=True):
        for link, block in links:
            view.apply(link, block)
    assert len(histories.all) == 2
    assert [view.lookup(chain.uri("c"), X) for view in views] == [Known.KNOWN, Known.NEW]
    assert [view.lookup(chain.uri("d"), X) for view in views] == [Known.NEW, Known.KNOWN]
    assert views[0].link_hash(2) != views[1].link_hash(2)
    late = NodeView(histories, 100, lambda _: None)
    late.apply(*other.links[2])
    assert late.lookup(chain.uri("d"), X) is Known.KNOWN


def test_a_history_has_no_gaps(chain: Chain) -> None:
    history = History()
    with pytest.raises(InvariantViolation):
        history.add(*chain.links[1], None)


def test_trees_of_a_history(chain: Chain) -> None:
    history = History()
    for link, block in chain.links:
        history.add(link, block, None)
    leaves = [link.hash for link, _ in chain.links]
    for size in range(1, 7):
        assert history.root(size) == merkle.root(leaves[:size])
        assert merkle.CompactRange(size, history.subtrees(size)).root() == merkle.root(leaves[:size])
    assert history.filter_bytes(0) == 0
    assert history.filter_bytes(2) == 4


# --- the disk ---------------------------------------------------------------------------------------
def test_an_open_transaction_sees_itself_and_nobody_else_does(chain: Chain) -> None:
    kernel, histories = Kernel(1), Histories()
    disk = Disk(kernel, histories, 0.5)
    view = disk.begin()
    for link, block in chain.links[:3]:
        view.append(link, block, b"certificate")
    block = chain.links[1][1]
    key, header = bytes.fromhex(str(block.parsed[0]["key"])), block.block.header
    for seen, there in ((view, True), (disk.begin(), False)):
        assert seen.lookup(chain.uri("a"), X) is (Known.KNOWN if there else Known.NEW)
        assert seen.lookup(chain.uri("a"), Z) is (Known.OTHER if there else Known.NEW)
        assert seen.contains(key, block.leaves[0]) is there
        assert seen.clashes(key, X) is there
        assert seen.proposal(header.proposer, header.sequence) == ((1, block.block.id) if there else None)
        assert seen.link_hash(2) == (chain.links[2][0].hash if there else None)
        assert seen.size == (3 if there else 0)
    assert view.link_time_us(1) == chain.links[1][0].time_us
    assert view.head == chain.links[2][0].hash


def test_what_is_synced_stays_and_what_is_not_does_not(chain: Chain) -> None:
    kernel, histories, done = Kernel(1), Histories(), []
    disk = Disk(kernel, histories, 0.5)
    view = disk.begin()
    view.append(*chain.links[0], None)
    disk.sync(view, lambda: done.append(kernel.now), judging_s=0.25)
    kernel.run(1.0)
    assert (disk.size, disk.syncs, done) == (1, 1, [0.75])
    view = disk.begin()
    view.append(*chain.links[1], b"certificate")
    disk.sync(view, lambda: done.append(kernel.now))
    kernel.run(1.2)
    disk.crash()
    kernel.run(9.0)
    assert (disk.size, disk.syncs, done) == (1, 1, [0.75])
    view = disk.begin()
    for link, block in chain.links[1:]:
        view.append(link, block, b"certificate")
    disk.sync(view, lambda: None)
    kernel.run(10.0)
    assert disk.size == 6
    assert disk.history.certificates == [None] + [b"certificate"] * 5


def test_an_older_image_goes_on_differently(chain: Chain) -> None:
    kernel, histories = Kernel(1), Histories()
    disk = Disk(kernel, histories, 0.0)
    for link, block in chain.links[:2]:
        view = disk.begin()
        view.append(link, block, None)
        disk.sync(view, lambda: None)
        kernel.run(1.0)
    image = disk.keep_image()
    newer = disk.begin()
    newer.append(*chain.links[2], None)
    disk.sync(newer, lambda: None)
    kernel.run(2.0)
    disk.restore(image)
    assert disk.size == 2
    view = disk.begin()
    assert view.lookup(chain.uri("a"), Y) is Known.OTHER
    assert view.link_hash(2) is None
    link, block = chain.links[2]
    different = Link(2, link.previous, link.block, None, Mode.EPOCH, 0, (), 1, link.time_us + 1)
    view.append(different, block, None)
    disk.sync(view, lambda: None)
    kernel.run(3.0)
    assert disk.begin().link_hash(2) == different.hash
    assert len(histories.all) == 2


def test_known_beats_everything_that_is_less(chain: Chain) -> None:
    """Below and on top of a transaction: what either knows holds."""
    history = History()
    for link, block in chain.links[:5]:
        history.add(link, block, None)
    view = ChainView(history, 5)
    view.append(*chain.links[5], None)
    assert view.lookup(chain.uri("a"), Z) is Known.KNOWN
    assert view.lookup(chain.uri("a"), X) is Known.KNOWN
    assert view.lookup(chain.uri("b"), Z) is Known.OTHER
    assert view.lookup(chain.uri("c"), Z) is Known.UNHASHED
    assert view.lookup(chain.uri("d"), Z) is Known.NEW


def test_who_recorded_a_file_first_is_found_on_disk_and_on_top(chain: Chain) -> None:
    """And not in links that follow on another disk."""
    history = History()
    for link, block in chain.links:
        history.add(link, block, None)
    first, uri = chain.links[0], chain.uri("a")
    proposer = first[1].block.header.proposer
    assert ChainView(history, 6).recorder(uri) == proposer
    assert ChainView(history, 6).recorder(chain.uri("d")) is None
    view = ChainView(history, 0)
    assert view.recorder(uri) is None
    view.append(*first, None)
    assert view.recorder(uri) == proposer
    assert [ChainView(history, 5).root(size) for size in (5, 6)] == [history.root(5), None]


# --- settings ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodes", 0),
        ("nodes", 10_001),
        ("duration_s", -1.0),
        ("rate", float("nan")),
        ("difficulty", 7),
        ("difficulty", -1),
        ("mining", "both"),
        ("quorum", "all"),
        ("storage_weight", -1),
        ("latency", "slow"),
        ("tail_links", 0),
        ("hashes_per_s", 0),
        ("tampered", 1.5),
        ("again", -0.1),
        ("fan_in", -1),
    ],
)
def test_a_setting_out_of_bounds_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} "):
        SimConfig(**{name: value})


def test_hash_randomisation_changes_nothing() -> None:
    script = (
        "from tests.sim.test_world import faulty\n"
        "from scichain_wf.sim.config import SimConfig\n"
        "print(faulty(SimConfig(nodes=4, seed=3, duration_s=0.5))[1].digest)\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 65

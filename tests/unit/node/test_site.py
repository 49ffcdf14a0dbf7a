"""How agents find a storage node that did not start them: the rendezvous and the tokens beside a chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf.errors import ConfigError, PeerError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.node import site, wire
from scichain_wf.node.launch import Launch, agent_line
from scichain_wf.transport.link import Address
from scichain_wf.transport.runca import RunAuthority
from tests.chains import DiskChain

ADDRESS: Address = ("10.1.2.3", 4)


@pytest.fixture
def layout(tmp_path: Path) -> ChainLayout:
    made = ChainLayout(tmp_path)
    made.run_dir.mkdir()
    return made


@pytest.fixture
def launch(tmp_path: Path, layout: ChainLayout) -> Launch:
    with DiskChain(tmp_path / "chain") as made:
        build = made.builder
    return Launch(build.chain, layout, build.authority, build.storage, build.epoch, build.epoch)


def published(layout: ChainLayout, launch: Launch, slots: range) -> site.Rendezvous:
    run = RunAuthority("r")
    site.publish(layout, launch, run, run.issue("storage"), ADDRESS, slots)
    found = site.Rendezvous.read(layout)
    assert found is not None
    return found


def test_a_token_is_private_and_for_one_slot_of_one_storage_process(layout: ChainLayout, launch: Launch) -> None:
    first = published(layout, launch, range(2, 4))
    assert first.address == ADDRESS
    path = site.token_file(layout, 3)
    assert [p.name for p in sorted(path.parent.iterdir())] == ["slot-2", "slot-3"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    ticket = site.ticket_for(path, 3, first)
    assert ticket is not None
    assert site.chain_of(ticket) == launch.chain
    with pytest.raises(ConfigError, match="is the token of slot 3, not of slot 2"):
        site.ticket_for(path, 2, first)
    second = published(layout, launch, range(2, 4))
    assert second.fingerprint != first.fingerprint
    assert site.ticket_for(path, 3, first) is None
    assert site.ticket_for(path, 3, second) != ticket
    site.withdraw(layout)
    assert site.Rendezvous.read(layout) is None
    assert not path.parent.exists()
    site.withdraw(layout)


def test_the_first_slot_alone_looks_after_the_spool(layout: ChainLayout, launch: Launch) -> None:
    run = RunAuthority("r")
    lines = [
        agent_line(launch.ticket(slot, run), layout, ADDRESS, "10.1.2.4", (5, 6), Path("/srv/m"), [Path("/dev/shm/x")])
        for slot in (1, 2)
    ]
    assert [line["spool"] for line in lines] == [str(layout.spool_new.parent), None]
    assert lines[1]["listen"] == ["10.1.2.4", 5, 6]
    assert lines[1]["storage"] == list(ADDRESS)
    assert lines[1]["adopt"] == ["/dev/shm/x"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "what is this",
        "10.0.0.1:x f 1",
        "10.0.0.1:1 f",
        "10.0.0.1:1 f one",
        "10.0.0.1:99999999 f 1",
        "10.0.0.1:-1 f 1",
        "a..b:1 f 1",
        "\xff" * 9,
    ],
)
def test_a_rendezvous_that_says_something_else_is_refused(layout: ChainLayout, text: str) -> None:
    (layout.run_dir / "storage").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="does not say where the storage node is"):
        site.Rendezvous.read(layout)


def test_a_rendezvous_that_cannot_be_read_is_named(layout: ChainLayout) -> None:
    (layout.run_dir / "storage").mkdir()
    with pytest.raises(ConfigError, match=r"storage: cannot be read: Is a directory"):
        site.Rendezvous.read(layout)


NO_SLOT = '{"slot": -1, "storage_fingerprint": "f"}'


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slot": 1}', NO_SLOT, "{" * 9_000])
def test_what_is_no_token_is_refused(layout: ChainLayout, text: str) -> None:
    path = layout.root / "token"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not a join token"):
        site.ticket_for(path, 1, site.Rendezvous(ADDRESS, "f", 1))


def test_a_first_line_that_says_not_where_to_listen_is_refused() -> None:
    good: dict[str, object] = {"listen": ["127.0.0.1", 0, 0], "slots": 3, "metrics": "/srv/m"}
    assert site.Site.from_line(dict(good)) == site.Site("127.0.0.1", (0, 0), 3, Path("/srv/m"))
    wrong: list[dict[str, object]] = [{"listen": ["127.0.0.1"]}, {"listen": None}, {"slots": -1}, {"slots": "3"}]
    wrong.append({"metrics": None})
    for bad in wrong:
        with pytest.raises(PeerError):
            site.Site.from_line(good | bad)


@pytest.mark.parametrize(
    "change",
    [
        {"chain": "zz"},
        {"token": None},
        {"authority": "00"},
        {"credentials": 5},
        {"credentials": {"key": "x"}},
        {"credentials": {"certificate": "x", "key": "y", "authority": "z"}},
    ],
)
def test_a_token_that_was_edited_is_refused(layout: ChainLayout, launch: Launch, change: dict[str, object]) -> None:
    meeting, path = published(layout, launch, range(2, 3)), site.token_file(layout, 2)
    path.write_bytes(wire.encoded(wire.decoded(path.read_bytes()) | change))
    with pytest.raises(ConfigError, match="is not a join token"):
        site.ticket_for(path, 2, meeting)

"""What is said of each slot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from scichain_wf.consensus import membership
from scichain_wf.node.crew import Crew
from scichain_wf.node.figures import slot_states
from scichain_wf.node.hello import Hello
from scichain_wf.node.members import Member, Members
from tests.builders import signing_key


def member(slot: int, **more: Any) -> Member:
    issued = membership.issue_token(signing_key(1, "a"), bytes(32), 1, slot, signing_key(1, "t"))
    join = membership.bind(issued, bytes(32), signing_key(slot, "k").public, f"host{slot}")
    found = Member(slot, Hello(join, ("10.0.0.1", slot), 0, None, None), cast("Any", object()))
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_every_slot_has_a_state_in_words() -> None:
    welcome = {"next": 3}
    known = [
        member(1, **welcome),
        member(2),
        member(3, **welcome, channel=None),
        member(4, **welcome, has_left=True),
        member(5, **welcome),
    ]
    members = cast("Members", SimpleNamespace(all=known, dismissed={5: "its links", 6: "its token"}))
    crew = cast("Crew", SimpleNamespace(slots={7}, all_slots=[1, 7, 8]))
    assert slot_states(9, members, crew) == {
        1: ("voting", "host1"),
        2: ("joining", "host2"),
        3: ("cut off", "host3"),
        4: ("left", "host4"),
        5: ("dismissed: its links", "host5"),
        6: ("dismissed: its token", ""),
        7: ("starting", ""),
        8: ("resting", ""),
        9: ("not here yet", ""),
    }

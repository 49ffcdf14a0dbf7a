"""One agent on a host of its own (`scichain-wf node`): started when there is a storage node, again when it died.

This process holds no key and talks to nobody. It looks into the chain's directory for the storage node that runs
there (`site`), forks the agent, tells it its first line, and stays the other end of its standard input. An agent
whose storage process is gone for another one is ended, and one with the new token begins: its outbox waits meanwhile.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.client.outbox import outbox_directory
from scichain_wf.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, ConfigError, LedgerError, PeerError
from scichain_wf.node import agent, main, process, shm
from scichain_wf.node.children import Child
from scichain_wf.node.launch import agent_line
from scichain_wf.node.site import Rendezvous, chain_of, ticket_for

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.transport.link import Ports

del agent  # imported so that the agents need not: they are forks of this process


@dataclass(frozen=True, slots=True)
class Plan:
    """What this host contributes.

    Attributes:
        layout: the chain, as this host sees it.
        slot: what its agent fills.
        token: file with the slot's token.
        host: address of this host where other agents find its agent.
        ports: that it may listen on.
        metrics: directory where it leaves its figures.
        burst: the directory of this host's burst buffer, if it has one.
        tail: below which directory the agent keeps its ledger tail.
        wait_s: how long to wait for a storage node at first.
    """

    layout: ChainLayout
    slot: int
    token: Path
    host: str
    ports: Ports
    metrics: Path
    burst: Path | None
    tail: Path
    wait_s: float


class Outpost:
    """Runs agents, one after the other.

    Args:
        plan: see `Plan`.
        say: told in words what happens.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._child: Child | None = None
        self._ending, self._told_s = False, float("-inf")
        self._failures = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit code.

        Raises:
            ConfigError: the token or the place to listen cannot be used.
            PeerError: no storage node in time, no outbox possible on this host, or the agent died too often.
            LedgerError: another agent of this slot runs on this host.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        met = self._meet()
        if met is None:
            return EXIT_OK
        shm.try_out(chain_of(met[1]))
        while True:
            meeting, ticket = met
            code = self._one(meeting, ticket)
            if self._ending:
                return self._ended(code, ticket)
            if code == EXIT_USAGE:  # it has said why
                with suppress(LedgerError):  # another agent of this host has taken its place, and its outbox
                    self._say_left(ticket)
                return code
            if code != EXIT_OK:
                self._failed(code)
            met = self._meet(first=False)
            if met is None:
                return self._ended(EXIT_OK, ticket)

    def _told(self, *_: object) -> None:
        child, now_s = self._child, time.monotonic()
        if now_s - self._told_s < limits.SIGNAL_APART_S:
            return
        self._told_s = now_s
        if child is not None:
            child.kill() if self._ending else child.terminate()
        self._ending = True

    def _meet(self, *, first: bool = True) -> tuple[Rendezvous, dict[str, object]] | None:
        """Wait for a storage node that our token is for; None if told to end meanwhile."""
        plan, waits = self._plan, False
        deadline = time.monotonic() + plan.wait_s if first else None
        while not self._ending:
            meeting = Rendezvous.read(plan.layout)
            ticket = ticket_for(plan.token, plan.slot, meeting) if meeting is not None else None
            if meeting is not None and ticket is not None:
                return meeting, ticket
            why = "no storage node runs on it" if meeting is None else f"{plan.token} is for an earlier storage node"
            if deadline is not None and time.monotonic() > deadline:
                raise PeerError(f"{plan.layout.root}: {why}; start one with `scichain-wf storage`")
            if not waits:
                self._say(f"waiting: {why}")
            waits = True
            time.sleep(limits.RENDEZVOUS_POLL_S)
        return None

    def _one(self, meeting: Rendezvous, ticket: dict[str, object]) -> int:
        """One agent from its start to its end; returns its exit code."""
        plan, slot, chain = self._plan, self._plan.slot, chain_of(ticket)
        adopted = shm.inherited(chain, slot)
        child = self._child = Child.forked(slot, _agent)
        if self._ending:
            child.terminate()
        there, here = (ticket, plan.layout, meeting.address), (plan.host, plan.ports, plan.metrics)
        child.tell(agent_line(*there, *here, adopted, plan.burst, plan.tail))
        changed = False
        while (said := child.said(limits.RENDEZVOUS_POLL_S)) != b"":
            self._pass_on(said, chain, meeting)
            if not changed and not self._ending and self._has_changed(meeting):
                self._say("the storage node has ended")
                changed = True
                child.end()
        self._child = None
        code = child.reaped()
        if code < 0:  # killed: it could not do it itself
            shm.remove(shm.tail_directory(chain, slot, plan.tail))
        return code

    def _has_changed(self, meeting: Rendezvous) -> bool:
        try:
            return Rendezvous.read(self._plan.layout) != meeting
        except ConfigError:
            return False  # a shared file system that does not answer: its agent notices for itself

    def _pass_on(self, said: bytes | None, chain: bytes, meeting: Rendezvous) -> None:
        for line in (said or b"").splitlines():
            value = process.decoded(line)
            if "joined" in value:
                self._failures = 0
                where, slot = f"{meeting.address[0]}:{meeting.address[1]}", self._plan.slot
                self._say(f"slot {slot} joined at {where}; records go to {outbox_directory(chain, slot)}")
            elif "error" in value:
                error = value["error"]
                self._say(str(error["message"] if isinstance(error, dict) else error))

    def _failed(self, code: int) -> None:
        self._failures += 1
        if self._failures > limits.RESTARTS_MAX:
            raise PeerError(f"the agent ended {self._failures} times in a row, lastly with {code}; its log says why")
        self._say(f"the agent ended with {code} and is started again")
        time.sleep(limits.RESTART_PAUSE_S * 2 ** (self._failures - 1))

    def _ended(self, code: int, ticket: dict[str, object]) -> int:
        if self._say_left(ticket):
            return EXIT_INCOMPLETE
        return max(code, EXIT_OK)  # a signal ended it, and there was nothing to do

    def _say_left(self, ticket: dict[str, object]) -> bool:
        """Whether something waits in this host's outboxes; says where."""
        left = shm.inherited(chain_of(ticket), self._plan.slot)
        shm.remove_empty(chain_of(ticket), self._plan.tail)
        if left:
            where = left[0].parent
            self._say(f"not everything is committed: the rest waits in {where} for the next agent on this host")
        else:
            shm.remove_empty(chain_of(ticket))
        return bool(left)


def _agent() -> int:
    """The fork: Ctrl-C is for its parent, and so is the wait for SIGTERM until it has a loop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return main.main()

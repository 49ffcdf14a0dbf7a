"""Waiting until a single transaction is committed: asked of the storage node of this host, from any process.

Standard library only: hooks import this.
"""

from __future__ import annotations

import time

from scichain_wf import limits
from scichain_wf.client.lines import SocketLines
from scichain_wf.client.outbox import SERVICE, outbox_directory
from scichain_wf.errors import PeerError


def wait_committed(chain: bytes, key: bytes, identity: bytes, timeout_s: float) -> None:
    """Return when the transaction of (key, id) is on the chain.

    Raises:
        PeerError: it is not in time, or nobody on this host can tell; says which.
    """
    deadline = time.monotonic() + timeout_s
    try:
        lines = SocketLines(outbox_directory(chain, 1).parent / SERVICE)
    except OSError:
        raise PeerError("no storage node runs on this host that could tell when it is committed") from None
    try:
        lines.say({"await": {"key": key.hex(), "id": identity.hex(), "timeout_ms": int(timeout_s * 1_000)}})
        while (answer := lines.answer(deadline + limits.ANSWER_GRACE_S)) is not None:
            if answer.get("committed") is True:
                return
            if "committed" in answer:
                break
        else:
            raise PeerError("the storage node of this host ended before it was committed")
    except (OSError, TimeoutError):
        pass  # it does not answer
    finally:
        lines.close()
    raise PeerError(f"it was not committed within {timeout_s:.0f} s")

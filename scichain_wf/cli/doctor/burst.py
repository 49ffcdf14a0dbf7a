"""The burst buffer: a disk of this host that takes what outboxes do not, if one is configured."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.cli.doctor.check import Check, fail, ok, size, warn
from scichain_wf.client.burst import check_base
from scichain_wf.client.outbox import check_private, user_directory
from scichain_wf.errors import SubmissionError
from scichain_wf.hooks.naming import Mounts

_NAME: Final = "burst buffer"
_SPOOL: Final = "records that outboxes do not take go to the chain's spool meanwhile"


def burst_check(base: Path) -> Check:
    """Examine the directory `base` (the setting `burst_buffer`); nothing is written."""
    ours = user_directory(base)
    try:
        check_base(base)
        if os.path.lexists(ours):
            check_private(ours, 1)
    except SubmissionError as error:
        return fail(_NAME, str(error), _SPOOL)
    mount, free = Mounts().of(os.fsencode(os.path.realpath(base))), shutil.disk_usage(base).free
    found = f"{base} on {mount.kind or 'an unknown file system'}, {size(free)} free"
    if not os.access(base, os.W_OK | os.X_OK) or os.statvfs(base).f_flag & os.ST_RDONLY:
        return fail(_NAME, f"{found}; it may not be written", f"name another directory; {_SPOOL}")
    if free < limits.DISK_FREE_BYTES_MIN:
        return fail(_NAME, found, f"free space, or name another directory; {_SPOOL}")
    if mount.shared:
        return warn(_NAME, f"{found}, shared between hosts", "name a disk of this host: the spool is shared, too")
    if mount.kind in ("tmpfs", "ramfs"):
        return warn(_NAME, f"{found}: memory, gone when this machine restarts", "name a disk")
    return ok(_NAME, found)

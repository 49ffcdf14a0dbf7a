"""One record of a big chain, altered: is it found?

A mutation changes stored entries of one kind (a link, a block, a certificate, a tree node, an index entry, the
ledger's meta, the checkpoint) or forges consistently: it rewrites a transaction together with everything that follows
from it and needs no key. It is judged by the checks of the affected heights only, and of the one index where entries
were added or removed. A full verification makes exactly these checks and more, so what they find it finds; where
they find nothing, the full verification decides. A sample is verified in full as well, to hold that argument to
account.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from scichain_wf.audit import blocks, trust
from scichain_wf.audit.chain import check_signed, gather
from scichain_wf.errors import ScichainError
from scichain_wf.ledger import rawread
from scichain_wf.ledger.fsck import check
from scichain_wf.ledger.isolate import Inline
from scichain_wf.ledger.problem import Problems
from scichain_wf.ledger.walk import scan, survey, walk
from tests.integration.byteflips import verified
from tests.integration.changed_ledger import Ledger, Mutation
from tests.integration.mutation_kinds import MAKERS

INFO: Final = frozenset({"conf-no-trust-root", "conf-one-host", "conf-one-slot"})


def judge(ledger: Ledger, mutation: Mutation) -> tuple[bool, bool]:
    """(found, whether it took the full verification to decide)."""
    ledger.close()
    if _found_locally(ledger, mutation):
        return True, False
    return not verified(ledger.layout), True


def _found_locally(ledger: Ledger, mutation: Mutation) -> bool:
    try:
        summary = survey(ledger.directory)
        if summary.problems:
            return True
        heights = [height for height in mutation.heights if 0 <= height < summary.size]
        if _bad(walk(summary, heights, blocks.visit).problems):
            return True
        if mutation.scans:
            expected = check_counts(ledger)
            for database in mutation.scans:
                found = scan(summary, database)
                if _bad(found.problems) or found.entries[database] != expected[database]:
                    return True
        stated, problems = trust.read_stated(ledger.layout), Problems()
        trust.check_ids(summary.chain, None, stated, problems)
        notes = [stated.checkpoint] if stated.checkpoint is not None else []
        facts = gather(Inline(), summary, notes, problems)
        if facts is not None:
            check_signed(summary, stated.checkpoint, None, facts, problems)
        return _bad(problems)
    except ScichainError:
        return True
    finally:
        rawread.release()


_COUNTS: dict[Path, dict[str, int]] = {}


def check_counts(ledger: Ledger) -> dict[str, int]:
    """Entries that follow from the untouched blocks: taken once, before anything was changed."""
    return _COUNTS[ledger.directory]


def take_counts(ledger: Ledger) -> None:
    """Count what follows from the blocks, by the walk and not by the indexes."""
    ledger.close()
    summary = survey(ledger.directory)
    found = check(Inline(), summary)
    if found.problems.kept:
        raise AssertionError(f"the chain is not sound to begin with: {found.problems.kept[:3]}")
    _COUNTS[ledger.directory] = dict(found.entries)
    rawread.release()


def _bad(problems: Problems) -> bool:
    return any(problem.code not in INFO for problem in problems.kept)


def make(ledger: Ledger, rng: random.Random) -> Mutation:
    """A random mutation."""
    weights = [weight for weight, _ in MAKERS]
    (chosen,) = rng.choices([maker for _, maker in MAKERS], weights)
    return chosen(ledger, rng)

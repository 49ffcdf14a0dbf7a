"""The store as the core's rules see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf.errors import UsageError
from scichain_wf.node.lookups import ChainLookup
from tests.chains import DiskChain


def test_who_recorded_a_file_first_and_what_the_tree_was(tmp_path: Path) -> None:
    """The first version's block counts, however many came later."""
    with DiskChain(tmp_path / "chain") as chain:
        build = chain.builder
        uri = str(build.artifact("f")["uri"])
        with chain.store.view() as view:
            assert ChainLookup(view).recorder(uri) is None
        for slot in (2, 1):
            chain.block(slot, [build.task(f"t{slot}", (), [build.artifact("f", b"%d" % slot)])])
        with chain.store.view() as view:
            lookup, size = ChainLookup(view), view.size
            assert lookup.recorder(uri) == build.nodes[2].public.fingerprint
            assert lookup.root(size - 1) == view.root(size - 1) != view.root()
            assert lookup.root(size) == view.root()
            assert lookup.root(size + 1) is None
            with pytest.raises(UsageError):
                view.header(size)

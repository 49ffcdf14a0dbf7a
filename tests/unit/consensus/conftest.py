"""A cluster for each test that wants one."""

from __future__ import annotations

import pytest

from tests.unit.consensus.cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()

"""Figures that a running service leaves: they add up with the chain and with each other."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from scichain_wf.cli import standing
from scichain_wf.client.service import start
from tests.integration.service_kit import Records, assert_committed_once, emit, wait_until

NAME = re.compile(r"^# TYPE (\S+)", re.MULTILINE)
ROLES = ("slot-1", "slot-2", "storage")


def figures(path: Path) -> dict[tuple[str, str], float]:
    """(name, labels beside chain and role) → value."""
    text = path.read_text() if path.exists() else ""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            rest = {key: value for key, value in sample.labels.items() if key not in ("chain", "role")}
            found[sample.name, ",".join(f"{key}={value}" for key, value in sorted(rest.items()))] = sample.value
    return found


def test_the_figures_of_a_run_add_up_and_go_with_it(tmp_path: Path) -> None:
    chain, directory = tmp_path / "chain", tmp_path / "metrics"
    service = start(chain, 2, metrics_dir=directory)
    records = Records(service.chain)
    emitted = records.tasks(40)
    emit(service, emitted)
    service.flush(records.run)
    files = {role: directory / f"scichain-{service.chain.hex()[:16]}-{role}.prom" for role in ROLES}

    def storage_says_all() -> bool:
        now = figures(files["storage"])
        modes = ("certificate=quorum", "certificate=poet")
        return sum(now.get(("scichain_transactions_committed_total", mode), 0) for mode in modes) == len(emitted)

    def agents_say_all() -> bool:
        done = [figures(files[role]).get(("scichain_block_latency_seconds_count", ""), 0) for role in ROLES[:2]]
        return all(done)

    wait_until(storage_says_all, "storage's figures")
    wait_until(agents_say_all, "the agents' figures")
    storage, agents = figures(files["storage"]), [figures(files[role]) for role in ROLES[:2]]
    blocks = sum(value for (name, _), value in storage.items() if name == "scichain_blocks_total")
    assert storage["scichain_links", ""] == blocks + 1  # the genesis was there before
    assert storage["scichain_slots", "state=voting"] == 2
    assert storage["scichain_commit_seconds_count", ""] >= 1
    assert storage["scichain_queue_blocks", ""] == storage["scichain_queue_bytes", ""] == 0
    assert storage["scichain_writer_epoch", ""] == 1
    own = [agent["scichain_block_latency_seconds_count", ""] for agent in agents]
    assert sum(own) == blocks - storage["scichain_blocks_total", "certificate=epoch"]
    for agent in agents:
        assert agent["scichain_links", ""] == storage["scichain_links", ""]
        assert agent["scichain_peers_up", ""] == agent["scichain_storage_up", ""] == 1
        assert agent["scichain_pending_transactions", ""] == agent["scichain_blocks_in_flight", ""] == 0
        assert 0 < agent["scichain_tail_links", ""] <= agent["scichain_links", ""]
    assert [slot["state"] for slot in standing.look(chain).slots] == ["voting", "voting"]
    assert documented() == {name for path in files.values() for name in NAME.findall(path.read_text())}
    service.stop()
    assert list(directory.iterdir()) == []
    assert standing.look(chain).slots == []
    assert_committed_once(chain, emitted)


def documented() -> set[str]:
    """What the reference says there is."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    return {line.split("`")[1].partition("{")[0] for line in page.read_text().splitlines() if line.startswith("| `sc")}

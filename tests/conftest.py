"""What holds for every test: Hypothesis profiles, and no unexplained skip in CI."""

from __future__ import annotations

import fnmatch
import os
import random
import signal
import tempfile
import tomllib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
SKIPS = Path(__file__).with_name("skips.toml")
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "dev")

# No deadlines: a loaded machine is slow, not wrong. Failures print the blob that reproduces them.
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile(
    "ci",
    deadline=None,
    print_blob=True,
    derandomize=False,
    database=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
# tests/mutation: thousands of runs, each of which must come out as the last time.
settings.register_profile(
    "mutation",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(PROFILE)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so starts a shell what runs behind it; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed here, before the workers start, so that all of them share the one that is printed."""
    if PROFILE == "ci" and config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = str(random.SystemRandom().getrandbits(32))


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to run the same examples again."""
    seed = config.getoption("hypothesis_seed")
    again = f", seed {seed} (again: HYPOTHESIS_PROFILE={PROFILE} pytest --hypothesis-seed={seed})" if seed else ""
    return f"hypothesis: profile {PROFILE}{again}"


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another place for what clients keep of their chains than this user's own."""
    home = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return home


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short name, for Unix sockets: their paths may have 107 bytes, `tmp_path` is often longer."""
    with tempfile.TemporaryDirectory(prefix="sc-") as directory:
        yield Path(directory)


def allowed_skips(path: Path = SKIPS) -> dict[str, str]:
    """The patterns of skips.toml with their reasons; an entry without a reason is refused."""
    entries = tomllib.loads(path.read_text()).get("skip", [])
    for entry in entries:
        if not entry.get("test") or not entry.get("reason"):
            raise pytest.UsageError(f"{path}: an entry needs both 'test' and 'reason': {entry}")
    return {entry["test"]: entry["reason"] for entry in entries}


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure unless skips.toml lists it; expected failures are not skips."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    if any(fnmatch.fnmatch(report.nodeid, pattern) for pattern in allowed_skips()):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped in CI and not listed in tests/skips.toml: {reason}"


if IN_CI:

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A skipped test."""
        report = yield
        refuse_skip(report)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report() -> Generator[None, Any, pytest.CollectReport]:
        """A module that skips itself, for instance by `pytest.importorskip`."""
        report: pytest.CollectReport = yield
        refuse_skip(report)
        return report

"""Parsl's own tests against NodeExecutor, every app recorded, by hand: `tox -e parsl-suite [-- PYTEST OPTIONS]`.

The tests come with the installed Parsl; nothing of them is kept here. Two passes, in a new directory that is left for
reading if a test failed:

- those that take a configuration: they get this file's (`--config`);
- those that bring one of Parsl's stock configurations along, outside of what is about another executor: in place of
  its executor there is a NodeExecutor, and `scichain_config` in place of `Config`.

This file is the command, the configuration, and the plugin that pytest loads for both passes.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import parsl
import pytest
from parsl.app.bash import BashApp
from parsl.app.python import PythonApp
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.providers import LocalProvider

from scichain_parsl import NodeExecutor, scichain_config, traced

TESTS: Final = Path(parsl.__file__).parent / "tests"
TIMEOUT_S: Final = 120
STOCK: Final = ("htex_local", "htex_local_alternate", "local_threads")
"""Parsl's configurations that say nothing particular about their executor."""
OF_OTHERS: Final = {"test_htex", "test_threads", "test_radical", "sites"}
_INTERNET: Final = "needs servers in the internet"
_SHARES: Final = "shares a `threading.Event` with its task"
_OPTIONAL: Final = "needs an optional package of Parsl"
NOT_APPLICABLE: Final = {
    "test_resource_spec.py::test_resource": "lists by class the executors that may refuse a resource specification",
    "[htex_filesystem_config]": "is about HTEX's radio",
    "[htex_udp_config]": "is about HTEX's radio",
    "test_htex_fuzz_zmq.py::test_fuzz": "is about HTEX's sockets",
    "test_context_manager.py::test_exit_skip": _SHARES,
    "test_garbage_collect.py::test_garbage_collect": _SHARES,
    "test_1606_wait_for_current_tasks.py::test_wait_for_tasks": _SHARES,
    "test_staging_https.py::test_staging_https_local": _INTERNET,
    "[workqueue_config]": _OPTIONAL,
    "[taskvine_config]": _OPTIONAL,
    "test_proxystore_via_apps": _OPTIONAL,
}


# --- the configuration ----------------------------------------------------------------------------------
def fresh_config() -> Config:
    """What the first pass loads."""
    return scichain_config(executors=[in_place()], strategy="none", usage_tracking=0)


def in_place(label: str = "nodes", provider: Any = None, **settings: Any) -> NodeExecutor:
    """A NodeExecutor with what it has in common with the executor that is asked for."""
    common = {"storage_access", "working_dir", "block_error_handler"}
    provider = provider or LocalProvider(init_blocks=1, max_blocks=1)  # type: ignore[no-untyped-call]
    kept = {name: value for name, value in settings.items() if name in common}
    return NodeExecutor(label, provider, workers_per_node=2, **kept)


# --- the plugin -----------------------------------------------------------------------------------------
def pytest_configure(config: pytest.Config) -> None:
    """Have every app recorded, and Parsl's stock configurations be ours."""
    for kind in (BashApp, PythonApp):
        kind.__init__ = _recording(kind.__init__)  # type: ignore[method-assign]
    for name in STOCK:
        module = importlib.import_module(f"parsl.tests.configs.{name}")
        for replaced in {"HighThroughputExecutor", "ThreadPoolExecutor"} & set(vars(module)):
            setattr(module, replaced, in_place)
        setattr(module, Config.__name__, scichain_config)
    config.pluginmanager.register(Outcomes())


def _recording(init: Any) -> Any:
    @functools.wraps(init)
    def made(app: Any, *args: Any, **kwargs: Any) -> None:
        init(app, *args, **kwargs)
        traced(app)

    return made


class Outcomes:
    """What became of each test, told at the end."""

    def __init__(self) -> None:
        self.passed, self.failed, self.left_out = 0, dict[str, str](), Counter[str]()
        self.module: Path | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what cannot pass here, with the reason."""
        for item in items:
            reasons = [reason for name, reason in NOT_APPLICABLE.items() if item.nodeid.endswith(name)]
            if item.get_closest_marker("cleannet"):
                reasons.append(_INTERNET)
            if item.get_closest_marker("unix_filesystem_permissions_required") and os.geteuid() == 0:
                reasons.append("root may write anywhere")
            for reason in reasons:
                item.add_marker(pytest.mark.skip(reason=reason))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A test that failed may have left its kernel, which the next module's could not replace."""
        module, self.module = self.module, item.path
        is_ours = item.config.getoption("config") != ["local"]
        if not is_ours and module != item.path and DataFlowKernelLoader._dfk is not None:
            parsl.dfk().cleanup()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count it."""
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr).strip().splitlines()[-1]
        elif report.skipped:
            self.left_out[str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)] += 1
        else:
            self.passed += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        write = terminalreporter.write_line
        write(f"\nParsl {parsl.__version__}: {self.passed} pass, {len(self.failed)} fail")
        for name, reason in self.failed.items():
            write(f"  failed  {name}: {reason}")
        for reason, number in self.left_out.most_common():
            write(f"  {number:4d} do not apply: {reason.removeprefix('Skipped: ')}")


# --- the command ----------------------------------------------------------------------------------------
def stock_tests() -> list[str]:
    """Test files that bring a stock configuration along."""
    stock = re.compile(rf"from parsl\.tests\.configs\.(?:{'|'.join(STOCK)}) import")
    files = [path for path in sorted(TESTS.rglob("test_*.py")) if OF_OTHERS.isdisjoint(path.parts)]
    return [str(path) for path in files if "mark.local" in (text := path.read_text("utf-8")) and stock.search(text)]


def main(options: list[str]) -> int:
    """Run both passes; returns 0 if nothing failed."""
    here = Path(tempfile.mkdtemp(prefix="parsl-suite-"))
    (here / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    beside = Path(__file__).resolve()
    paths = [str(beside.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    # HTEX, which a few tests start themselves, finds its worker pool's script on PATH.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": ":".join(paths), "PATH": path}
    common = ["-p", "no:cacheprovider", "-p", beside.stem, "-c", "pytest.ini", "--rootdir", str(TESTS)]
    common += ["-q", "--tb=short", "--show-capture=no", f"--timeout={TIMEOUT_S}", *options]
    codes = []
    for config, tests in ((str(beside), [str(TESTS)]), ("local", stock_tests())):
        shown = ["--show-filtered-tests"] if config != "local" else []
        command = [sys.executable, "-m", "pytest", *tests, *common, "--config", config, *shown]
        codes.append(subprocess.run(command, cwd=here, env=environment, check=False).returncode)
    if any(codes):
        print(f"see {here}")
    else:
        shutil.rmtree(here)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The host: its clock, its libraries, channels between processes, and whether engines find their plugins."""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.cli.doctor.check import Check, fail, ok, warn
from scichain_wf.errors import PeerError

if TYPE_CHECKING:
    from scichain_wf.transport.channel import TlsChannel

_DAY_S: Final = 86_400.0
_SET_CLOCK: Final = "set the clock (chrony, ntpd): other hosts refuse connections, and recorded times are wrong"
_RTC: Final = Path("/sys/class/rtc/rtc0/since_epoch")
_PLUGINS: Final = """
import json
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
from snakemake import __version__
found = [LoggerPluginRegistry().is_installed("scichain"), ExecutorPluginRegistry().is_installed("scichain")]
print(json.dumps([str(__version__), *found]))
"""
_INSTALL: Final = "pip install 'scichain-wf[snakemake]' into the environment of Snakemake"


def clock_check(now_s: float, same: dict[str, float], earlier: dict[str, float]) -> Check:
    """Hold a clock against others.

    Args:
        now_s: the clock, seconds since 1970.
        same: clocks that should agree.
        earlier: times that have passed.
    """
    here = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    for name, time_s in earlier.items():
        if now_s < time_s - limits.CLOCK_SKEW_S:
            return fail("clock", f"{here}, but {name} is {_apart(time_s - now_s)} later", _SET_CLOCK)
    name, time_s = max(same.items(), key=lambda item: abs(item[1] - now_s), default=("nothing", now_s))
    found = f"{here}; {name} differs by {_apart(abs(time_s - now_s))}"
    if abs(time_s - now_s) > _DAY_S:
        return fail("clock", found, _SET_CLOCK)
    if abs(time_s - now_s) > limits.CLOCK_SKEW_S:
        return warn("clock", found, "have both synchronised (chrony, ntpd): recorded times are compared by people")
    return ok("clock", found)


def hardware_clock_s() -> float | None:
    """What the machine's battery clock says; None if that cannot be read."""
    try:
        return float(_RTC.read_text())
    except (OSError, ValueError):
        return None


def channel_check() -> Check:
    """Make a run's certificates, listen on loopback, and have two ends prove to each other who they are."""
    try:
        asyncio.run(_handshake())
    except (TimeoutError, OSError, PeerError) as error:
        reason = str(error) or f"no connection within {limits.HELLO_TIMEOUT_S:.0f} s"
        remedy = "allow connections to 127.0.0.1 (`ip link set lo up`)"
        return fail("channels", f"loopback with TLS 1.3: {reason}", remedy)
    return ok("channels", "TLS 1.3 with certificates on both sides, on loopback")


def software_check() -> Check:
    """Python and the libraries that do the work."""
    from importlib.metadata import version

    from cryptography.hazmat.backends.openssl import backend

    libraries = ", ".join(f"{name} {version(name)}" for name in ("lmdb", "orjson", "cryptography"))
    python = f"Python {platform.python_version()} on {platform.system()}"
    found = f"{python}, {libraries} ({backend.openssl_version_text()})"
    if not sys.platform.startswith("linux"):
        return warn("software", found, "runs are recorded on Linux only; verifying works here")
    return ok("software", found)


def engine_checks() -> Iterator[Check]:
    """Whether the engines of this environment find our plugins. Asked in a process of its own."""
    if find_spec("snakemake") is None:
        yield ok("snakemake", "not installed in this environment")
        return
    command = [sys.executable, "-P", "-c", _PLUGINS]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=limits.ENGINE_TIMEOUT_S, check=True)
        version, logger, executor = json.loads(asked.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        said = (getattr(error, "stderr", None) or repr(error)).strip().splitlines()[-1:]
        yield fail("snakemake", f"cannot be asked: {''.join(said):.200}", f"try `snakemake --version`; {_INSTALL}")
        return
    missing = [name for name, there in (("logger", logger), ("executor", executor)) if not there]
    if missing:
        yield fail("snakemake", f"{version} does not find our {' and '.join(missing)} plugin", _INSTALL)
    else:
        yield ok("snakemake", f"{version} finds `--logger scichain`")


async def _handshake() -> None:
    from scichain_wf.transport import runca, tls
    from scichain_wf.transport.channel import TlsChannel
    from scichain_wf.transport.link import Listener

    authority = runca.RunAuthority("doctor")
    server, client = (authority.issue(name) for name in (tls.STORAGE, tls.slot_name(1)))
    met = asyncio.Event()

    async def serve(channel: TlsChannel) -> None:
        await channel.receive()
        met.set()

    problems: list[str] = []
    listener = Listener(tls.server_context(server), serve, problems.append)
    try:
        address = await listener.start()
        async with asyncio.timeout(limits.HELLO_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                *address, ssl=tls.client_context(client), server_hostname=tls.STORAGE
            )
            channel = TlsChannel(reader, writer)
            channel.send(1, b"")
            await met.wait()
            await channel.close()
    finally:
        await listener.close()


def _apart(seconds: float) -> str:
    if seconds >= 2 * _DAY_S:
        return f"{seconds / _DAY_S:.0f} days"
    return f"{seconds:.0f} s" if seconds >= 1 else "less than a second"

"""A command runs as if nobody stood in between."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scichain_wf.hooks.command import Fate, run_command

RUN = (  # a batch system may start tests with signals ignored, which programs inherit
    "import signal, sys\n"
    "for number in (signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_DFL)\n"
    "from scichain_wf.hooks.command import run_command\n"
    "sys.exit(run_command(sys.argv[1:]).exit_code)"
)

COUNTING = (
    "import signal, sys\n"
    "got = []\n"
    "signal.signal(int(sys.argv[1]), lambda *_: (got.append(1), print('got')))\n"
    "print('ready')\n"
    "sys.stdin.readline()\n"
    "print(len(got))"
)
"""Says `ready`, then `got` for each of its signals, and after a line of input how many there were."""


def started(*arguments: str) -> subprocess.Popen[str]:
    """`run_command` in a process of its own, whose command says `ready` first."""
    command = [sys.executable, "-c", RUN, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_exit_codes_are_the_commands() -> None:
    for code in (0, 1, 77, 255):
        assert run_command(["sh", "-c", f"exit {code}"]) == Fate(code)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_command_that_a_signal_ends_is_reported_as_a_shell_does(number: signal.Signals) -> None:
    fate = run_command(["sh", "-c", f"kill -{int(number)} $$"])
    assert (fate.exit_status, fate.exit_code) == (-number, 128 + number)
    assert fate.interrupted is (number is signal.SIGTERM)


def test_a_shell_that_reports_an_interrupted_command_counts_as_interrupted() -> None:
    assert Fate(130).interrupted
    assert not Fate(1).interrupted


def test_a_command_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert run_command(["no-such-program"]) == Fate(127, "no-such-program: No such file or directory")
    assert run_command([str(tmp_path / "data")]).exit_code == 126
    assert run_command([str(tmp_path)]).exit_code == 126


def test_input_and_output_pass_through() -> None:
    process = started("sh", "-c", "echo ready; exec cat")
    assert process.communicate("text\n")[0] == "text\n"
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_sent_to_us_reaches_the_command_once(number: signal.Signals) -> None:
    process = started(sys.executable, "-uc", COUNTING, str(int(number)))
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == "got\n"
    assert process.communicate("end\n")[0] == "1\n"
    assert process.returncode == 0


def test_a_signal_nobody_catches_ends_the_command_and_we_report_it() -> None:
    process = started("sh", "-c", "echo ready; exec sleep 600")
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    process.communicate()


def test_ctrl_c_reaches_the_command_once_and_we_wait_for_it() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-c", RUN, sys.executable, "-uc", COUNTING, str(int(signal.SIGINT))]
        os.execv(sys.executable, command)  # noqa: S606
    with os.fdopen(terminal, "r+b", buffering=0) as file:
        seen = b""
        while b"ready" not in seen:
            seen += file.read(100)
        file.write(b"\x03")
        while b"got" not in seen:
            seen += file.read(100)
        file.write(b"end\n")
        while not seen.rstrip().endswith(b"1"):
            seen += file.read(100)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0  # before the terminal hangs up


def test_the_command_finds_the_signals_of_a_fresh_program(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    output = tmp_path / "status"
    run_command(["sh", "-c", f"cat /proc/self/status > {output}"])
    status = dict(line.split(":\t", 1) for line in output.read_text().splitlines())
    assert int(status["SigBlk"], 16) == 0
    assert not int(status["SigIgn"], 16) & (1 << (signal.SIGPIPE - 1))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_signal_that_may_not_be_passed_on_is_let_go() -> None:
    """Spec: HOOK-1. A command may become another user's (sudo), which only root could try out and root may signal.

    In a process of its own, as all signals to us: a thread of these tests could take them.
    """
    refusing = (
        "import os\n"
        "def refused(*_): raise PermissionError(1, 'Operation not permitted')\n"
        f"os.kill = refused\n{RUN}"
    )
    command = [sys.executable, "-c", refusing, "sh", "-c", "kill -TERM $PPID; sleep 0.1; exit 3"]
    assert subprocess.run(command, check=False).returncode == 3

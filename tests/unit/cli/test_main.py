"""The frame around the commands: errors in one line, exit codes, starting fast."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import scichain_wf
from scichain_wf import cli, errors
from scichain_wf.cli import app as table
from scichain_wf.cli import output


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(table.LazyGroup, "get_command", lambda *_: command)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("bad value"), 2),
        (errors.UsageError("bad call"), 2),
        (errors.LedgerCorrupt("altered"), 1),
        (errors.VerificationError("no"), 1),
        (errors.LedgerError("unreadable"), 3),
        (errors.PeerError("gone"), 3),
        (click.UsageError("bad flag"), 2),
        (RuntimeError("a mistake of ours"), 3),
    ],
)
def test_error_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    monkeypatch.delenv("SCICHAIN_DEBUG", raising=False)
    raising(monkeypatch, error)
    with pytest.raises(SystemExit) as ended:
        cli.main(["verify"])
    assert ended.value.code == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("scichain-wf: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err


@pytest.mark.parametrize("error", [
    errors.LedgerError("\x1b[31mred\nline"), FileNotFoundError(2, "not there", "\x1b[31mred\nline"),
    ValueError("\x1b[31mred\nline"),
])  # fmt: skip
def test_control_characters_in_an_error_are_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    monkeypatch.delenv("SCICHAIN_DEBUG", raising=False)
    raising(monkeypatch, error)
    assert cli.run(["verify"]) == 3
    said = capsys.readouterr().err
    assert "\\x1b[31mred\\nline" in said
    assert said.strip().isprintable()


@pytest.mark.parametrize("group", [[], ["runs"], ["ledger"]])
def test_group_without_a_command_shows_its_commands_line_by_line(
    capsys: pytest.CaptureFixture[str], group: list[str]
) -> None:
    assert cli.run(group) == 2
    said = capsys.readouterr().err
    assert "\nCommands:\n" in said
    assert "\\n" not in said


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    raising(monkeypatch, error)
    with pytest.raises(SystemExit) as ended:
        cli.main(["verify"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "scichain-wf: interrupted\n"


def test_mistake_of_ours_is_shown_in_full_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCICHAIN_DEBUG", "1")
    raising(monkeypatch, RuntimeError("x"))
    with pytest.raises(RuntimeError):
        cli.run(["verify"])


def test_broken_invariant_is_never_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, errors.InvariantViolation("x"))
    with pytest.raises(errors.InvariantViolation):
        cli.run(["verify"])


def test_misspelled_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["verfy"]) == 2
    assert "Did you mean 'verify'?" in capsys.readouterr().err
    assert cli.run(["zzz"]) == 2


def test_help_names_every_command_and_each_command_has_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in table._COMMANDS:
        assert f"\n  {name} " in listed
        assert cli.run([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: scichain-wf {name}")


def test_table_entry_without_a_command_is_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table._COMMANDS, "broken", ("output", "No command in there."))
    monkeypatch.setenv("SCICHAIN_DEBUG", "1")
    with pytest.raises((TypeError, AttributeError)):
        cli.run(["broken"])


def test_closed_standard_output_changes_no_exit_code() -> None:
    command = f"'{sys.executable}' -m scichain_wf --version >&-"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


def test_closed_pipe_ends_quietly_and_never_as_verified() -> None:
    script = "import sys; from scichain_wf.cli import main; main(['--help'])"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate()
    assert (process.returncode, error) == (3, b"")


def test_module_runs_as_a_program() -> None:
    result = subprocess.run([sys.executable, "-m", "scichain_wf", "--version"], capture_output=True, check=False)
    assert result.returncode == 0


def test_version_is_the_packages() -> None:
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == scichain_wf.__version__


def imported(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_importing_the_package_imports_nothing_else() -> None:
    assert imported("import scichain_wf") - imported("pass") == {"scichain_wf"}


def test_help_imports_no_command_and_no_rich() -> None:
    code = "from scichain_wf.cli import run\nrun(['--help'])"
    found = imported(code)
    assert not {"rich", "lmdb", "cryptography", "asyncio", "scichain_wf.audit", "scichain_wf.cli.verify"} & found


def test_hook_path_is_standard_library_and_orjson() -> None:
    code = "import scichain_wf.hooks.session, scichain_wf.hooks.join, scichain_wf.client.service"
    third_party = {"lmdb", "cryptography", "click", "rich", "platformdirs", "asyncio", "yaml"}
    found = imported(code)
    assert not third_party & found
    assert "orjson" in found


def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output.say("plain", "good")
    assert capsys.readouterr().out == "plain\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.say("green", "good")
    assert "\x1b[" in capsys.readouterr().out
    for variable, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            output.say("plain", "good")
            assert "\x1b" not in capsys.readouterr().out


def test_text_that_the_terminal_cannot_show_is_escaped() -> None:
    code = "from scichain_wf.cli.output import say; say('ü\\udc80…')"
    environ = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environ, check=False)
    assert (result.returncode, result.stdout) == (0, b"\\xfc\\udc80\\u2026\n")

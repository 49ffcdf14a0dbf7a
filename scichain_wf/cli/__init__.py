"""The command line: `scichain-wf COMMAND`. One module per command, imported when it is used.

Every error ends in one message on standard error that says what can be done, and in an exit code that
`scichain_wf.errors` decides: 0 verified or done, 1 integrity failure, 2 usage or configuration, 3 incomplete or
unreachable; 130 after Ctrl-C. Progress and messages go to standard error, results to standard output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from scichain_wf import errors, limits

EXIT_INTERRUPTED = 130
"""As a shell reports a process ended by SIGINT."""
PROGRAM = "scichain-wf"
DEBUG_VARIABLE = "SCICHAIN_DEBUG"
COMPLETE_VARIABLE = "_SCICHAIN_WF_COMPLETE"
"""Set by the shell's function that asks what a command line could go on with."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit.

    Args:
        arguments: without the program's name; the process's own by default.
    """
    if sys.stdout is None:  # started with `>&-`: the exit code still tells the verdict
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    code = errors.EXIT_INCOMPLETE
    try:
        asked = os.environ.get(COMPLETE_VARIABLE)
        code = run(arguments) if asked is None else _complete(asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # `scichain-wf ... | head`: the reader has seen enough. What was not read to its end is no "verified".
        code = code or errors.EXIT_INCOMPLETE
        _discard(sys.stdout)
    except OSError as error:  # of the last flush
        _say(f"standard output: {error.strerror or error}")
        code = code or errors.EXIT_INCOMPLETE
        _discard(sys.stdout)
    except KeyboardInterrupt:
        _say("interrupted")
        code = EXIT_INTERRUPTED
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:  # nowhere to say anything, which changes no verdict
        _discard(sys.stderr)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Ctrl-C and a closed pipe are the caller's."""
    import click

    from scichain_wf.cli.app import app

    try:
        # Not `app.main`: it would turn Ctrl-C and a closed pipe into exits of its own.
        with app.make_context(PROGRAM, list(sys.argv[1:] if arguments is None else arguments)) as begun:
            code = app.invoke(begun)
        return code if isinstance(code, int) else errors.EXIT_OK
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # a group alone; since click 8.2
            with suppress(OSError):
                click.echo(error.format_message(), err=True)
            return errors.EXIT_USAGE
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" (see `{context.command_path} --help`)" if context is not None else ""
        _say(error.format_message() + hint)
        return errors.EXIT_USAGE
    except errors.ScichainError as error:
        _say(str(error))
        return error.exit_code
    except (BrokenPipeError, RecursionError):
        raise
    except OSError as error:  # standard output on a full disk, a name that is too long
        _say(f"{error.strerror or error}{f': {error.filename!s:.200}' if error.filename else ''}")
        return errors.EXIT_INCOMPLETE
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _say(f"internal error: {type(error).__name__}: {error}; please report it; {DEBUG_VARIABLE}=1 shows where")
        return errors.EXIT_INCOMPLETE


def _complete(instruction: str) -> int:
    """Answer a shell; the words so far are in variables that its function sets."""
    from click.shell_completion import shell_complete

    from scichain_wf.cli.app import app

    return shell_complete(app, {}, PROGRAM, COMPLETE_VARIABLE, instruction)


def _say(message: str) -> None:
    from scichain_wf.cli.output import complain, escaped

    message = escaped(message)
    if len(message) > limits.MESSAGE_CHARS_MAX:  # it quotes a name, and names have any length
        message = message[: limits.MESSAGE_CHARS_MAX // 2] + " … " + message[-limits.MESSAGE_CHARS_MAX // 2 :]
    complain(message)


def _discard(stream: TextIO) -> None:
    """Python flushes it once more at exit; give it somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

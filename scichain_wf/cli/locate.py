"""Which chain a command is about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scichain_wf.config import CHAIN_NAME, load_config
from scichain_wf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_MARKS = ("trust-root", "ledger")


def chain_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--chain DIR`."""
    return click.option(
        "--chain",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=f"Directory of the chain. Default: configured, or {CHAIN_NAME} here or above.",
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def find_chain(named: Path | None, about: str = "") -> Path:
    """The chain's directory.

    Args:
        named: what `--chain` said: the chain's directory, or the one that holds it.
        about: what the command is about; if it is a file of another directory, the chain is looked for there and above.

    Raises:
        UsageError: there is none; the message says how one comes about.
    """
    here = Path.cwd() if named is not None or not is_path(about) else _start(Path(about))
    config = load_config(here)
    wanted = named or config.chain
    if wanted is not None:
        for place in (wanted, wanted / CHAIN_NAME):
            if is_chain(place):
                return place
        raise UsageError(f"{wanted} is not a chain: name the directory that holds `trust-root` and `ledger`")
    for place in (here, *here.parents):
        for candidate in (place / CHAIN_NAME, place):
            if is_chain(candidate):
                return candidate
    raise UsageError(
        f"no chain in {here} or above; record a run first (`snakemake --logger scichain ...`), or name one: --chain DIR"
    )


def is_path(name: str) -> bool:
    """Whether a name on the command line is that of a file and not an id."""
    return "/" in name or "." in name or os.path.lexists(name)


def _start(path: Path) -> Path:
    here = Path.cwd()
    absolute = Path(os.path.normpath(here / path)).parent
    return absolute if absolute.is_dir() and here not in absolute.parents else here


def wanted_chain(named: Path | None) -> Path:
    """The chain's directory, or where a run that is started here would make it."""
    try:
        return find_chain(named)
    except UsageError:
        return named or load_config(Path.cwd()).chain or Path.cwd() / CHAIN_NAME


def is_chain(directory: Path) -> bool:
    """Whether this looks like the directory of a chain; what is in it is not looked at."""
    try:
        return any((directory / mark).exists() for mark in _MARKS) and (directory / _MARKS[1]).is_dir()
    except OSError:
        return False

"""`scichain-wf version`."""

from __future__ import annotations

import platform

import click

from scichain_wf import __version__
from scichain_wf.cli.locate import json_option
from scichain_wf.cli.output import say, say_fields, say_json

_LIBRARIES = ("lmdb", "orjson", "cryptography", "click", "rich", "snakemake", "parsl")


@click.command(epilog="Example: scichain-wf version --json")
@json_option
def command(*, as_json: bool) -> None:
    """Print the version and what it runs on."""
    from importlib.metadata import PackageNotFoundError, version

    from scichain_wf.model.transaction import SCHEMA_VERSION

    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    value = {
        "scichain-wf": __version__,
        "schema": SCHEMA_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": libraries,
    }
    if as_json:
        say_json(value)
        return
    say(f"scichain-wf {__version__}")
    shown = ", ".join(f"{name} {number}" for name, number in libraries.items())
    say_fields(
        [
            ("records", f"schema version {SCHEMA_VERSION}"),
            ("python", f"{value['python']} on {value['platform']}"),
            ("with", shown),
        ]
    )

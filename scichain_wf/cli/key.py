"""`scichain-wf key FILE`: a key for an author, to sign the ends of runs with."""

from __future__ import annotations

from pathlib import Path

import click

from scichain_wf import keystore
from scichain_wf.cli.locate import json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.model.text import public_key_text


@click.command(epilog="Example: scichain-wf key ~/.config/scichain/author.key")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def command(*, file: Path, as_json: bool) -> None:
    """Make a signing key in the new FILE, for the setting `author_key`. Prints its public key."""
    key = keystore.generate()
    keystore.save(file, key)
    public = public_key_text(key.public.raw)
    if as_json:
        say_json({"file": str(file), "public_key": public})
        return
    say(f"made a key in {file}; keep it to yourself")
    say_fields([("public key", public)])
    say("tell those who verify your runs, on another way than the chain, that this public key is yours", indent=2)

"""`scichain-wf receipt FILE`: a proof of one file's record that needs neither the chain nor the cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.errors import UsageError
from scichain_wf.model.text import digest_text


@click.command(epilog="Example: scichain-wf receipt results/plot.pdf -o plot.receipt.json")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the receipt to this new file, not to standard output.",
)
@chain_option
@json_option
def command(*, file: Path, output: Path | None, chain: Path | None, as_json: bool) -> None:
    """Print a portable proof that FILE is what a recorded task made.

    Whoever holds the trust root checks it with `scichain-wf verify FILE --receipt RECEIPT --trust-root sha256:...`.
    With --output, --json prints where it was written and which trust root it needs.
    """
    from scichain_wf.audit import make_receipt
    from scichain_wf.model.receipt import Receipt

    data = make_receipt(find_chain(chain, str(file)), file)
    if output is None:
        sys.stdout.buffer.write(data + b"\n" * sys.stdout.isatty())
        sys.stdout.buffer.flush()
        return
    try:
        with output.open("xb") as written:
            try:
                written.write(data)
                written.flush()
            except BaseException:
                output.unlink()
                raise
    except FileExistsError:
        raise UsageError(f"{output} exists already; remove it, or name another file") from None
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from None
    root = digest_text(Receipt.decode(data).chain)
    if as_json:
        say_json({"receipt": str(output), "size_bytes": len(data), "trust_root": root})
        return
    say(f"wrote {output}")
    check = shlex.join(["scichain-wf", "verify", str(file), "--receipt", str(output), "--trust-root", root])
    say_fields([("trust root", root), ("check with", check)])

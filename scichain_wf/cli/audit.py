"""`scichain-wf audit [RUN]`: the verdict, every kind of finding, and the report.

Renderings of one result of `scichain_wf.audit`; nothing is judged here.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scichain_wf.cli.files import writable, write
from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import complain, escaped, say, say_json, say_table
from scichain_wf.cli.reading import run_named
from scichain_wf.cli.verify import Meter, fail_on_option, pinned, show, trust_options, worst
from scichain_wf.errors import EXIT_INCOMPLETE, EXIT_OK, UsageError

if TYPE_CHECKING:
    from scichain_wf.audit import Result


@click.command(epilog="Example: scichain-wf audit 0193a5 --html report.html")
@click.argument("run", required=False)
@chain_option
@trust_options
@click.option("--baseline", metavar="RUN", help="Say what RUN did otherwise than this one.")
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the report: one file, for any browser."
)
@click.option("--sarif", type=click.Path(path_type=Path), metavar="FILE", help="Write the findings as SARIF 2.1.0.")
@fail_on_option
@json_option
def command(
    *,
    run: str | None,
    chain: Path | None,
    trust_root: str | None,
    checkpoint: Path | None,
    baseline: str | None,
    html: Path | None,
    sarif: Path | None,
    fail_on: str,
    as_json: bool,
) -> int:
    """Audit the whole chain with its files, or one RUN with its files.

    A run is named by its id, the beginning of it, or a file that it made. Besides what `verify` says: what only whole
    runs show (tasks without an end, nodes that contradicted themselves), what is affected by each finding, and findings
    counted by kind. Exits like `verify`.
    """
    from scichain_wf import __version__
    from scichain_wf.audit import audit

    trust_root = pinned(trust_root)
    chain_dir = find_chain(chain, run or "")
    if baseline is not None and run is None:
        raise UsageError("--baseline is what a run is compared with: name the run, too")
    files = {place: _report_file(place, chain_dir) for place in (html, sarif) if place is not None}
    runs = [None if name is None else run_named(chain_dir, name) for name in (run, baseline)]
    with Meter() as meter:
        result = audit(
            chain_dir, run=runs[0], baseline=runs[1], trust_root=trust_root, checkpoint=checkpoint, progress=meter
        )
    if as_json:
        say_json(result.to_json())
    else:
        show(result)
        _say_kinds(result)
    codes = [result.exit_code_for(fail_on)]
    if html is not None:
        from scichain_wf.report.html import to_html

        codes.append(_write(html, files[html], to_html(result, __version__, time.time_ns() // 1_000)))
    if sarif is not None:
        from scichain_wf.report.sarif import to_sarif

        codes.append(_write(sarif, files[sarif], json.dumps(to_sarif(result, __version__), indent=1) + "\n"))
    return worst(codes)


def _report_file(place: Path, chain_dir: Path) -> Path:
    """Where a rendering goes, known to be writable before hours are spent on what it shall say."""
    file = writable(str(place))
    if chain_dir.resolve() in file.parents:
        raise UsageError(f"{place} is in the chain's own directory; name a file elsewhere")
    return file


def _write(place: Path, file: Path, text: str) -> int:
    """Write a rendering, and say its digest: who gets a copy can compare it. Returns an exit code."""
    data = text.encode()
    try:
        write(file, text)
    except OSError as error:
        complain(f"{place} was not written: {error.strerror or error}")
        return EXIT_INCOMPLETE
    click.echo(escaped(f"wrote {place} ({len(data)} bytes, sha256:{hashlib.sha256(data).hexdigest()})"), err=True)
    return EXIT_OK


def _say_kinds(result: Result) -> None:
    if not result.findings:
        return
    kinds = Counter((finding.id, finding.severity.value, finding.title) for finding in result.findings)
    rows = [
        [code, severity, str(number + result.dropped.get(code, 0)), title]
        for (code, severity, title), number in kinds.items()
    ]
    say("")
    say_table(["FINDING", "SEVERITY", "COUNT", "TITLE"], rows)

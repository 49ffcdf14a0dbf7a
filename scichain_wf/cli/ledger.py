"""`scichain-wf ledger show|proof|fsck|snapshot`: the chain itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scichain_wf import errors
from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.cli.reading import body, open_view, parsed, text, when
from scichain_wf.errors import UsageError
from scichain_wf.ledger.isolate import isolated
from scichain_wf.model.block import Header
from scichain_wf.model.text import digest_text

if TYPE_CHECKING:
    from scichain_wf.ledger.view import ChainView

_SHOWN = 10


@click.group(name="ledger", epilog="Example: scichain-wf ledger show")
def command() -> None:
    """Look into a chain: show, proof, fsck, snapshot."""


@command.command("show", epilog="Example: scichain-wf ledger show 12")
@click.argument("height", type=click.IntRange(min=0), required=False)
@chain_option
@json_option
def show(*, height: int | None, chain: Path | None, as_json: bool) -> None:
    """Show the newest links, or the block at HEIGHT with its transactions."""
    chain_dir = find_chain(chain)
    head, links = isolated(_shown, chain_dir, height)
    if as_json:
        say_json({**head, "links": links})
        return
    if height is None:
        say(f"chain {head['chain']}")
        say_fields([("where", str(chain_dir)), ("links", str(head["size"])), ("root", str(head["root"]))])
    for link in links:
        count, made = f"{link['transactions']} tx", when(link["time_us"])
        say(f"{link['height']:>6}  {link['mode']:<6}  {count:>7}  {link['block']}  {made}")
        for item in link.get("content", []):
            say(f"{item['index']:>4}  {item['kind']:<10}  {item['task'] or ''}  {item['key']}", indent=8)


@command.command("proof", epilog="Example: scichain-wf ledger proof 12 --json")
@click.argument("height", type=click.IntRange(min=0))
@chain_option
@json_option
def proof(*, height: int, chain: Path | None, as_json: bool) -> None:
    """Print the inclusion proof of the link at HEIGHT in the tree of all links (RFC 6962)."""
    value = isolated(_proof, find_chain(chain), height)
    if as_json:
        say_json(value)
        return
    say(f"link {height} of {value['size']}")
    say_fields([("chain", str(value["chain"])), ("root", str(value["root"]))])
    for node in value["path"]:
        say(node, indent=2)


@command.command("fsck", epilog="Example: scichain-wf ledger fsck --chain COPY/.scichain")
@chain_option
@json_option
def fsck(*, chain: Path | None, as_json: bool) -> int:
    """Recompute everything that follows from stored bytes; `scichain-wf verify` also checks signatures."""
    from scichain_wf.ledger import fsck as checker

    report = checker.fsck(find_chain(chain))
    problems = [
        {"code": p.code, "subject": p.subject, "expected": p.expected, "actual": p.actual, "height": p.height}
        for p in report.problems
    ]
    if as_json:
        say_json({"sound": report.sound, "size": report.size, "chain": digest_text(report.chain), "problems": problems})
    else:
        say("sound" if report.sound else "NOT SOUND", "good" if report.sound else "bad")
        chain_id, head = digest_text(report.chain), digest_text(report.head)
        say_fields([("links", str(report.size)), ("chain", chain_id), ("head", head)])
        for problem in problems:
            say(f"{problem['code']}: {problem['subject']}", indent=2)
            say_fields([("expected", text(problem["expected"])), ("found", text(problem["actual"]))], indent=4)
    return errors.EXIT_OK if report.sound else errors.EXIT_INTEGRITY


@command.command("snapshot", epilog="Example: scichain-wf ledger snapshot /srv/archive/chain-2026")
@click.argument("target", type=click.Path(path_type=Path))
@chain_option
@json_option
def snapshot(*, target: Path, chain: Path | None, as_json: bool) -> int:
    """Write a verified copy of the chain, without its keys, to the new directory TARGET.

    The chain may be in use: the copy has all links that its checkpoint signs. Exits with what verifying the copy comes
    to; a damaged chain is not copied.
    """
    from scichain_wf.audit import verify_chain
    from scichain_wf.cli.verify import Meter, headline
    from scichain_wf.ledger import copying

    report, left_out = copying.snapshot(find_chain(chain), target)
    with Meter() as meter:
        result = verify_chain(target, progress=meter)
    if as_json:
        made = {"snapshot": str(target), "links": report.size, "left_out": left_out}
        say_json(made | {"verification": result.to_json()})
    else:
        say(f"wrote {target}: {report.size} links")
        if left_out:
            say(f"left out {left_out} newer links, which are not signed yet: copy again later", "odd")
        say(headline(result), "good" if result.exit_code == errors.EXIT_OK else "bad")
    return result.exit_code


def _shown(chain_dir: Path, height: int | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The chain, and one link with all that is in it, or the newest ones."""
    with open_view(chain_dir) as view:
        if height is not None:
            _check_height(view, height)
            heights = range(height, height + 1)
        else:
            heights = range(max(0, view.size - _SHOWN), view.size)
        links = [_link(view, at, full=height is not None) for at in heights]
        return {"chain": digest_text(view.chain_id), "size": view.size, "root": digest_text(view.root())}, links


def _proof(chain_dir: Path, height: int) -> dict[str, Any]:
    with open_view(chain_dir) as view:
        _check_height(view, height)
        return {
            "chain": digest_text(view.chain_id),
            "height": height,
            "size": view.size,
            "link": view.link(height).value(),
            "path": [node.hex() for node in view.inclusion_path(height)],
            "root": digest_text(view.root()),
        }


def _check_height(view: ChainView, height: int) -> None:
    if height >= view.size:
        raise UsageError(f"the chain has {view.size} links; the newest is at height {view.size - 1}")


def _link(view: ChainView, height: int, *, full: bool) -> dict[str, Any]:
    link, frame = view.link(height), view.frame(height)
    header = Header.decode(frame.header)
    shown: dict[str, Any] = {**link.value(), "transactions": frame.count, "header": header.value()}
    if full:
        content = []
        for index in range(frame.count):
            value = parsed(view, height, index)
            named = {"kind": value["kind"], "key": value["key"], "task": body(value).get("task")}
            content.append({"index": index, **named, "record": value})
        shown["content"] = content
    return shown

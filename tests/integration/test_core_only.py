"""A receipt where nothing is but the wheel's core dependencies: no chain, no engine, nobody's settings."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import scichain_wf
from scichain_wf import audit
from scichain_wf.consensus import membership
from scichain_wf.model.text import digest_text
from tests.builders import ChainBuilder, signing_key
from tests.chains import DiskChain

ROTATIONS = 3
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def needed() -> dict[str, Distribution]:
    """What the wheel asks for without any extra, and what that asks for."""
    waiting: list[str] = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    found: dict[str, Distribution] = {}
    while waiting:
        asked = Requirement(waiting.pop())
        if asked.name not in found and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
            found[asked.name] = distribution(asked.name)
            waiting += found[asked.name].requires or []
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that can import the package and its core dependencies, and nothing else."""
    home = tmp_path_factory.mktemp("core")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True)
    packages = next((home / "venv").glob("lib*/python*/site-packages"))
    (packages / "scichain_wf").symlink_to(Path(scichain_wf.__file__).parent)
    for item in needed().values():
        for top in {file.parts[0] for file in item.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(item.locate_file(top))))
    return home / "venv" / "bin" / "python"


def rotated(chain: DiskChain) -> Iterator[str]:
    """A file made under each of the storage node's keys, the last of which signs the checkpoint."""
    build = chain.builder
    for number in range(ROTATIONS + 1):
        name = f"out/{number}.txt"
        block = build.block(1, [build.task(f"make n={number}", [], [build.artifact(name, b"%d" % number)])])
        chain.append(build.quorum(block) if number % 2 else build.poet(block))
        yield name
        if number < ROTATIONS:
            new = signing_key(number, "storage after a rotation")
            epoch = membership.restated(build.epoch, build.authority, build.chain, 3, storage=new.public)
            joins = []
            for slot, key in build.nodes.items():
                token_key = signing_key(number, f"token {slot} {epoch.generation}")
                token = membership.issue_token(build.authority, build.chain, epoch.generation, slot, token_key)
                joins.append(membership.bind(token, build.chain, key.public, f"node-{slot}"))
            chain.append(build.epoch_candidate(epoch))
            build.storage = new
            chain.append(build.epoch_candidate(membership.joined(epoch, build.chain, tuple(joins))))
    chain.checkpoint()


def test_a_receipt_is_checked_without_chain_after_three_key_rotations(python: Path, tmp_path: Path) -> None:
    """Spec: AUD-1."""
    there, here = (tmp_path / "there").resolve(), tmp_path / "here"
    with DiskChain(there / ".scichain", ChainBuilder(slots=3)) as chain:
        chain.block(1, [chain.builder.run_start(path=str(there), from_chain="..")])
        names = list(rotated(chain))
    assert audit.verify_chain(chain.root, jobs=1).exit_code == 0
    root = digest_text(chain.builder.chain)
    here.mkdir()
    for number, name in enumerate(names):
        (here / f"{number}.json").write_bytes(audit.make_receipt(chain.root, there / name))
        (here / Path(name).name).write_bytes(b"%d" % number)
    there.rename(tmp_path / "gone")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "nobody")}

    def verify(number: int, trusted: str = root) -> tuple[int, str]:
        options = ["verify", f"{number}.txt", "--receipt", f"{number}.json", "--trust-root", trusted]
        command = [str(python), "-I", "-m", "scichain_wf", *options]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout.partition(":")[0]

    assert [verify(number) for number in range(len(names))] == [(0, "VERIFIED")] * (ROTATIONS + 1)
    (here / "1.txt").write_bytes(b"changed")
    assert verify(1) == (1, "FAILED")
    assert verify(2, f"sha256:{'0' * 64}") == (1, "FAILED")
    tried = "import importlib.util as u; print([n for n in ('snakemake', 'parsl', 'pytest', 'pip') if u.find_spec(n)])"
    assert subprocess.run([str(python), "-I", "-c", tried], capture_output=True, text=True, check=True).stdout == "[]\n"

"""Mutation testing of the pure core: `tox -e mutation -- --package crypto [--module merkle ...]`.

mutmut (https://mutmut.readthedocs.io) changes one operator, constant, argument or branch at a time in a copy of the
checkout and runs the unit tests that reach the changed function; a change that no test notices is a survivor. Every
survivor needs a test, or an entry in survivors.toml with the reason why no test can or should notice it. An entry
whose change a test does notice is reported too, so the list stays true.

Not changed, because mutmut cannot or because it would say nothing: code outside functions, functions under a
decorator (properties, caches), the texts of exceptions, and the type that `cast` names. A timeout counts as noticed:
the change made a loop endless.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
PACKAGES: Final = {"crypto": ("tests/unit/crypto",), "consensus": ("tests/unit/consensus",)}
COPIED: Final = ("scichain_wf", "tests", "docs", "examples", "integrations", "pyproject.toml")
LEFT_OUT: Final = (
    "tests/unit/crypto/test_merkle.py::test_random_trees_agree_with_the_recursion_and_no_altered_proof_passes",
)
"""Tests that take longer than all others together. What only they would notice needs another test anyway."""
NOTICED_MIN_PERCENT: Final = 90
NOTICED: Final = frozenset({"killed", "timeout", "segfault"})
UNSURE: Final = frozenset({"survived", "no tests", "timeout"})
"""What `--again` tries again: a test may have been written since, or the machine may be less busy."""
CAST_TYPE: Final = re.compile(r"""\bcast\((?:None|"[^"]*"),""")

CONFIG: Final = """[mutmut]
source_paths=scichain_wf
only_mutate=
{sources}
also_copy=
  docs
  examples
  integrations
do_not_mutate_patterns=
  ^\\s*raise\\b
pytest_add_cli_args_test_selection=
{tests}
pytest_add_cli_args=
  -p
  no:cacheprovider
{left_out}
timeout_constant={patience_s}
timeout_multiplier=5
"""
"""A run may take 5 · (`--patience` + what its tests took without a change)."""


@dataclass(frozen=True)
class Change:
    """One change of the code, named by what it does and not by mutmut's number, which moves with every edit."""

    function: str
    """Module inside the package's parent and name: `crypto.merkle.root`, `crypto.signing.VerifyKey.verify`."""
    was: str
    now: str

    @property
    def module(self) -> str:
        """`crypto.merkle` of `crypto.merkle.root`."""
        return ".".join(self.function.split(".")[:2])

    @property
    def is_about_types(self) -> bool:
        """Whether it only names another type to the type checker: nothing that runs reads it."""
        return CAST_TYPE.sub("", self.was) == CAST_TYPE.sub("", self.now)


def main(arguments: list[str]) -> int:
    """Run mutmut over a package, or some of its modules; 0 when each survivor is explained and enough were noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.run")
    parser.add_argument("--package", choices=sorted(PACKAGES), required=True)
    parser.add_argument("--module", action="append", default=[], help="only this module of it; may be repeated")
    parser.add_argument("--work", type=Path, default=ROOT / ".tox" / "mutants", help="made anew for every run")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--patience", type=float, default=2.0, help="seconds; more where the machine is busy: slow is not endless"
    )
    parser.add_argument("--again", action="store_true", help="only what was not noticed last time, and what changed")
    options = parser.parse_args(arguments)
    work = options.work / options.package
    if not options.again:
        shutil.rmtree(work, ignore_errors=True)
    prepare(work, options.package, options.module, options.patience)
    before = states(work, options.package) if options.again else {}
    run = ("run", "--max-children", str(options.processes))
    mutmut(work, *run)
    after = states(work, options.package) if options.again else {}
    if left := [name for name, state in before.items() if state != "not checked" and after.get(name) in UNSURE]:
        mutmut(work, *run, *left)
    return report(work, options.package)


def prepare(work: Path, package: str, modules: list[str], patience_s: float) -> None:
    """Copy what mutmut needs: it writes beside the sources it reads."""
    work.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.rmtree(work / name, ignore_errors=True)
            shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, work / name)
    sources = [f"  scichain_wf/{package}/{module}.py" for module in modules or ["*"]]
    tests = [f"  {folder}" for folder in PACKAGES[package]]
    left_out = [f"  --deselect\n  {test}" for test in LEFT_OUT]
    lists = {"sources": sources, "tests": tests, "left_out": left_out}
    joined = {name: "\n".join(lines) for name, lines in lists.items()}
    (work / "setup.cfg").write_text(CONFIG.format(**joined, patience_s=patience_s))


def mutmut(work: Path, *arguments: str) -> str:
    """Run mutmut there, and return what it prints; what a run prints goes to the terminal if there is one.

    The Hypothesis profile of tests/conftest.py draws few examples, the same ones each time, and shrinks nothing.
    """
    command = [sys.executable, "-m", "mutmut", *arguments]
    env = {**os.environ, "HYPOTHESIS_PROFILE": "mutation", "PYTHONHASHSEED": "0", "CI": ""}
    env.pop("PYTHONSAFEPATH", None)
    shown = arguments[0] == "run" and sys.stdout.isatty()
    done = subprocess.run(command, cwd=work, env=env, stdout=None if shown else subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout or ''}\nmutmut {arguments[0]} ended with {done.returncode}")
    return done.stdout or ""


def states(work: Path, package: str) -> dict[str, str]:
    """What became of each change, by mutmut's name for it."""
    listed = mutmut(work, "results", "--all", "true")
    lines = (line.strip().rpartition(": ") for line in listed.splitlines())
    return {name: state for name, _, state in lines if name.startswith(f"scichain_wf.{package}.")}


def report(work: Path, package: str) -> int:
    """Print the table and what survivors.toml does not say; 1 if there is anything to do."""
    found_states = states(work, package)
    alive = {
        name: change(mutmut(work, "show", name))
        for name, state in found_states.items()
        if state not in NOTICED
    }
    for name in [name for name, survivor in alive.items() if survivor.is_about_types]:
        del alive[name], found_states[name]
    survivors = list(alive.values())
    counts: dict[str, Counter[str]] = {}
    for name, state in found_states.items():
        counts.setdefault(function(name).rpartition(".")[0].split(".")[1], Counter())[state] += 1
    counts["all"] = sum(counts.values(), Counter())
    print(f"\n{'module':<16} {'mutants':>8} {'killed':>8} {'survived':>9} {'timeouts':>9} {'noticed':>9}")
    for module, found in counts.items():
        print(
            f"{module:<16} {found.total():>8} {found['killed']:>8} {unnoticed(found):>9} {found['timeout']:>9}"
            f" {noticed_percent(found):>7.1f} %"
        )
    explained = read_survivors()
    looked_at = {f"{package}.{module}" for module in counts}
    unexplained = [survivor for survivor in survivors if survivor not in explained]
    wrong = [entry for entry in explained if entry.module in looked_at and entry not in survivors]
    for survivor in unexplained:
        print(f"\n# survived, and {SURVIVORS.name} does not say why\n{as_toml(survivor)}")
    for entry in wrong:
        print(f"\n# in {SURVIVORS.name}, but it did not survive\n{as_toml(entry)}")
    few = noticed_percent(counts["all"]) < NOTICED_MIN_PERCENT
    print(
        f"\n{len(survivors)} survived, {len(unexplained)} of them unexplained; {len(wrong)} entries do not hold;"
        f" {noticed_percent(counts['all']):.1f} % noticed (at least {NOTICED_MIN_PERCENT} %)"
    )
    return 1 if unexplained or wrong or few else 0


def unnoticed(found: Counter[str]) -> int:
    """How many no test noticed, those that no test reaches among them."""
    return found.total() - sum(found[state] for state in NOTICED)


def noticed_percent(found: Counter[str]) -> float:
    """Share of the changes that a test noticed."""
    return 100 * (1 - unnoticed(found) / max(1, found.total()))


def function(name: str) -> str:
    """`crypto.signing.VerifyKey.verify` of mutmut's `scichain_wf.crypto.signing.xǁVerifyKeyǁverify__mutmut_9`."""
    module, _, mangled = name.rpartition("__mutmut_")[0].rpartition(".")
    own = ".".join(mangled.split("ǁ")[1:]) if "ǁ" in mangled else mangled.removeprefix("x_")
    return f"{module.removeprefix('scichain_wf.')}.{own}"


def change(shown: str) -> Change:
    """What `mutmut show` prints: `# name: state`, then a diff whose first lines name the file and the place."""
    title, *diff = shown.splitlines()
    name = title.removeprefix("# ").rpartition(": ")[0]
    was = [line[1:].strip() for line in diff if line.startswith("-") and not line.startswith("---")]
    now = [line[1:].strip() for line in diff if line.startswith("+") and not line.startswith("+++")]
    return Change(function(name), "\n".join(was), "\n".join(now))


def read_survivors() -> list[Change]:
    """The entries of survivors.toml; one without a reason is refused."""
    entries = tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
    for entry in entries:
        if not entry.get("why", "").strip():
            raise SystemExit(f"{SURVIVORS}: an entry needs a reason: {entry}")
    return [Change(entry["function"], entry["was"], entry["now"]) for entry in entries]


def as_toml(entry: Change) -> str:
    """As survivors.toml wants it, the reason left to write."""
    was, now = (f"'''{text}'''" for text in (entry.was, entry.now))
    return f'[[survivor]]\nfunction = "{entry.function}"\nwas = {was}\nnow = {now}\nwhy = ""'


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""The virtual environment: made without ensurepip, reused while it fits, rebuilt when it was left half done.

A stamp file inside tells which of these it is. It says "unfinished" before anything else is in the directory and
before every later change; what is in the environment is written into it last. So a stamp that can be trusted is
only ever found on a complete environment, and a directory without any stamp was not made here and is not touched.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from starter.process import clean_environ, quiet

STAMP = "scichain-start.json"
PIP_MIN = (22, 3)  # the first with `pip --python`
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "scichain_wf", "integrations")
"""All that a wheel is built from."""


class SetupError(Exception):
    """The environment can not be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a complete environment was made from."""

    python: str
    requirements: str
    sources: str
    extras: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        """The stamp of a complete environment, or None if it is missing, unfinished or of another format."""
        try:
            fields = json.loads(path.read_bytes())
            return cls(fields["python"], fields["requirements"], fields["sources"], tuple(fields["extras"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def source_files(root: Path) -> list[Path]:
    """Every file that a wheel is built from, in a fixed order."""
    files: list[Path] = []
    for name in SOURCES:
        path = root / name
        found = path.rglob("*") if path.is_dir() else [path]
        files += [file for file in found if file.is_file() and "__pycache__" not in file.parts]
    return sorted(files)


def digest(files: list[Path], root: Path) -> str:
    """One digest over names and contents."""
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(root)}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


class Environment:
    """One virtual environment with this checkout installed in it."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.directory = directory
        self.root = root
        self.binaries = directory / "bin"
        self.python = self.binaries / "python"
        self.stamp_path = directory / STAMP

    def ensure(self, extras: set[str]) -> None:
        """Make the environment hold the current sources with at least these extras; nothing is done if it does."""
        before = Stamp.read(self.stamp_path) if self.works() else None
        kept = set(before.extras) if before else set()
        wanted = Stamp(
            python=f"{sys.version} {sys.base_prefix}",
            requirements=digest([self.root / "pyproject.toml"], self.root),
            sources=digest(source_files(self.root), self.root),
            extras=tuple(sorted(kept | extras)),
        )
        if before == wanted:
            print(f"Environment {self.directory} is up to date.", file=sys.stderr)
            return
        check_pip()
        print(f"Setting up {self.directory} with Python {sys.version.split()[0]}:", file=sys.stderr)
        if before is None or before.python != wanted.python:
            self.create()
        self.mark_unfinished()
        # Everything but the sources is as before: then nothing needs to be downloaded.
        same = before is not None and before == replace(wanted, sources=before.sources)
        self.install(wanted.extras, dependencies=not same)
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            self.compile()
        unfinished = self.stamp_path.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(wanted), indent=1) + "\n")
        unfinished.replace(self.stamp_path)

    def foreign(self) -> bool:
        """Whether something that is not ours is in the way."""
        if not self.directory.is_dir():
            return self.directory.exists()
        return not self.stamp_path.exists() and any(self.directory.iterdir())

    def mark_unfinished(self) -> None:
        """From here on the environment must be made anew if we are interrupted."""
        self.stamp_path.write_text('{"unfinished": true}\n')

    def works(self) -> bool:
        """Whether the environment's interpreter still starts; an upgrade of the system may have taken it away."""
        try:
            return subprocess.run([self.python, "-c", ""], env=clean_environ(), check=False).returncode == 0
        except OSError:
            return False

    def create(self) -> None:
        """Make an empty environment, in place of what an earlier try of ours left."""
        if self.foreign():
            raise SetupError(
                f"{self.directory} was not made by this script, so it is left alone. "
                "Remove it, or choose another place with --venv DIR."
            )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.mark_unfinished()
            for entry in self.directory.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry != self.stamp_path:
                    entry.unlink()
        except OSError as error:
            raise SetupError(f"cannot write to {self.directory} ({error}); choose another place with --venv") from error
        command = [sys.executable, "-m", "venv", "--without-pip", str(self.directory)]
        self.run("making the environment", command, "Is the 'venv' module of this Python installed?")

    def install(self, extras: tuple[str, ...], *, dependencies: bool) -> None:
        """Install a copy of the sources, so that nothing is built, and nothing stale is found, in the checkout."""
        with tempfile.TemporaryDirectory(prefix="scichain-build-") as temporary:
            copy = Path(temporary) / "scichain-wf"
            for file in source_files(self.root):
                target = copy / file.relative_to(self.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
            pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--progress-bar", "off"]
            chosen = f"[{','.join(extras)}]"
            advice = "Check that the package index can be reached (proxy, PIP_INDEX_URL), then run this again."
            if dependencies:
                what = f"installing scichain-wf{chosen} and what it needs (a minute)"
                self.run(what, [*pip, f"{copy}{chosen}"], advice)
            else:
                # Forced: to pip an equal version number means that nothing changed.
                self.run("installing the changed sources", [*pip, "--no-deps", "--force-reinstall", str(copy)], advice)

    def compile(self) -> None:
        """Write bytecode once, explicitly: where Python is told not to, every start would compile everything again."""
        command = [str(self.python), "-m", "compileall", "-q", "-j", "0", str(self.directory / "lib")]
        quiet("compiling", command, self.root, clean_environ())  # a file that does not compile is not our business

    def run(self, what: str, command: list[str], advice: str) -> None:
        """One step; its output is shown only if it fails."""
        code, output = quiet(what, command, self.root, clean_environ())
        if code != 0:
            print(output, file=sys.stderr)
            raise SetupError(f"{what} failed (exit code {code}); the output is above. {advice}")


def check_pip() -> None:
    """Refuse early, and say how to help, when the running interpreter has no pip or one too old."""
    if importlib.util.find_spec("pip") is None:
        raise SetupError(
            f"{sys.executable} has no pip. Get it with 'sudo apt install python3-pip' (Debian, Ubuntu), "
            f"'sudo dnf install python3-pip' (Fedora, RHEL) or '{sys.executable} -m ensurepip --user', "
            "or run this script with another Python that has it."
        )
    command = [sys.executable, "-m", "pip", "--version"]
    answer = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, check=False)
    version = re.match(r"pip (\d+)\.(\d+)", answer.stdout)
    if version is None:
        raise SetupError(f"{' '.join(command)} does not work:\n{answer.stdout}{answer.stderr}")
    if (int(version[1]), int(version[2])) < PIP_MIN:
        raise SetupError(
            f"pip {version[1]}.{version[2]} is too old; 22.3 or newer is needed. "
            f"Upgrade it with '{sys.executable} -m pip install --user --upgrade pip'."
        )

"""When the start script makes, repairs, updates or leaves alone an environment; pip itself is not run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from starter.environment import STAMP, Environment, SetupError, Stamp


class Recorder(Environment):
    """An environment that notes its steps; `stop_at` is where somebody presses Ctrl-C."""

    def __init__(self, directory: Path, root: Path, stop_at: str = "") -> None:
        super().__init__(directory, root)
        self.steps: list[str] = []
        self.stop_at = stop_at

    def works(self) -> bool:
        return self.python.exists()

    def run(self, what: str, command: list[str], advice: str) -> None:
        assert "" not in {what, advice}
        step = "venv" if "venv" in command else "sources" if "--no-deps" in command else "all"
        self.steps.append(step)
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.binaries.mkdir(exist_ok=True)
        self.python.touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    checkout = tmp_path / "check out"
    (checkout / "scichain_wf").mkdir(parents=True)
    (checkout / "scichain_wf" / "a.py").write_text("a = 1\n")
    (checkout / "pyproject.toml").write_text("[project]\n")
    return checkout


@pytest.fixture(autouse=True)
def no_bytecode_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


def ensure(root: Path, *extras: str, stop_at: str = "") -> list[str]:
    environment = Recorder(root / ".venv", root, stop_at)
    environment.ensure(set(extras))
    return environment.steps


def test_a_second_run_does_nothing(root: Path) -> None:
    assert ensure(root, "snakemake") == ["venv", "all"]
    assert ensure(root, "snakemake") == []


def test_changed_sources_are_reinstalled_without_their_dependencies(root: Path) -> None:
    ensure(root, "snakemake")
    (root / "scichain_wf" / "b.py").write_text("b = 1\n")
    assert ensure(root, "snakemake") == ["sources"]
    assert ensure(root, "snakemake") == []


def test_changed_requirements_are_installed_into_the_same_environment(root: Path) -> None:
    ensure(root, "snakemake")
    (root / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert ensure(root, "snakemake") == ["all"]


def test_extras_add_up_so_that_the_two_commands_do_not_undo_each_other(root: Path) -> None:
    ensure(root, "snakemake")
    assert ensure(root, "tox") == ["all"]
    stamp = Stamp.read(root / ".venv" / STAMP)
    assert stamp is not None
    assert stamp.extras == ("snakemake", "tox")
    assert ensure(root, "snakemake") == []


@pytest.mark.parametrize("moment", ["venv", "all"])
def test_interrupted_setup_is_made_anew(root: Path, moment: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        ensure(root, "snakemake", stop_at=moment)
    (root / ".venv" / "leftover").write_text("half a package")
    assert ensure(root, "snakemake") == ["venv", "all"]
    assert not (root / ".venv" / "leftover").exists()


def test_interrupted_update_is_made_anew(root: Path) -> None:
    ensure(root, "snakemake")
    (root / "scichain_wf" / "a.py").write_text("a = 2\n")
    with pytest.raises(KeyboardInterrupt):
        ensure(root, "snakemake", stop_at="sources")
    assert ensure(root, "snakemake") == ["venv", "all"]


def test_environment_whose_python_is_gone_is_made_anew(root: Path) -> None:
    ensure(root, "snakemake")
    (root / ".venv" / "bin" / "python").unlink()
    assert ensure(root, "snakemake") == ["venv", "all"]


def test_somebody_elses_directory_is_left_alone(root: Path) -> None:
    (root / ".venv").mkdir()
    (root / ".venv" / "thesis.tex").write_text("precious")
    with pytest.raises(SetupError, match="--venv"):
        ensure(root, "snakemake")
    assert [path.name for path in (root / ".venv").iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_left_alone(root: Path) -> None:
    (root / ".venv").write_text("precious")
    with pytest.raises(SetupError, match="left alone"):
        ensure(root, "snakemake")
    assert (root / ".venv").read_text() == "precious"

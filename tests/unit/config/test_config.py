"""Configuration: what counts for more, and that nothing misspelled is silently without effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.config import Config, checked_nodes, load_config
from scichain_wf.errors import ConfigError

ROOT = "sha256:" + "ab" * 32


def load(directory: Path, **variables: str) -> Config:
    return load_config(directory, variables)


def test_nothing_configured_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path) == Config(None, 1, None)


def test_environment_counts_for_more_than_the_nearest_file_and_that_for_more_than_one_above(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "scichain.toml").write_text("nodes = 2\nchain = 'chains/a'\n")
    assert load(inner) == Config(tmp_path / "chains/a", 2)
    (inner / "pyproject.toml").write_text("[tool.other]\nx = 1\n")  # says nothing about us
    assert load(inner).nodes == 2
    (inner / "pyproject.toml").write_text("[tool.scichain]\nnodes = 3\n")
    assert load(inner) == Config(None, 3)
    (inner / "scichain.toml").write_text(f"nodes = 4\ntrust_root = '{ROOT}'\n")
    assert load(inner) == Config(None, 4, ROOT)
    assert load(inner, SCICHAIN_NODES="5", SCICHAIN_CHAIN="/c", OTHER="x").nodes == 5
    assert load(inner, SCICHAIN_CHAIN="/srv/c").chain == Path("/srv/c")


def test_variables_that_a_run_sets_for_its_inner_processes_are_no_configuration(tmp_path: Path) -> None:
    assert load(tmp_path, SCICHAIN_RUN_ID="x", SCICHAIN_RUN_CHAIN="y", SCICHAIN_DEBUG="1") == Config()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("node = 3", "did you mean 'nodes'"),
        ("trustroot = 'x'", "did you mean 'trust_root'"),
        ("nodes = 0", "not a number of agents"),
        ("nodes = 1.5", "not a number of agents"),
        ("nodes = true", "not a number of agents"),
        ("chain = ''", "path of a chain"),
        ("chain = 3", "path of a chain"),
        ("trust_root = 'sha256:12'", "trust_root"),
        ("nodes = ", "scichain.toml"),
        ("\0", "scichain.toml"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "scichain.toml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        load(tmp_path)


def test_unknown_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SCICHAIN_CHIAN.*did you mean 'chain'"):
        load(tmp_path, SCICHAIN_CHIAN="x")


def test_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scichain.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"scichain\.toml"):
        load(tmp_path)

    def denied(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(tmp_path)


@pytest.mark.parametrize("value", [0, -1, limits.EMBEDDED_NODES_MAX + 1, "x", "", None, True, 2.0])
def test_numbers_of_agents_are_bounded(value: object) -> None:
    with pytest.raises(ConfigError, match="here"):
        checked_nodes(value, "here")


def test_number_of_agents_may_be_text() -> None:
    assert checked_nodes("3", "here") == 3

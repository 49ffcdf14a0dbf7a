"""`config show`: values, and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.kit import Say


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def test_values_are_shown_with_their_origin_when_asked(say: Say, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "scichain.toml").write_text("chain = 'x\\ny'\nnodes = 3\n".replace("'", '"'))
    monkeypatch.setenv("SCICHAIN_STRICT", "yes")
    said = say("config", "show", "--origin")
    assert said.code == 0
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0] == ["SETTING", "VALUE", "ORIGIN"]
    assert ["chain", f"{here}/x\\ny", f"{here}/scichain.toml:1"] in rows
    assert ["nodes", "3", f"{here}/scichain.toml:2"] in rows
    assert ["strict", "true", "$SCICHAIN_STRICT"] in rows
    assert ["trust_root", "-", "default"] in rows
    assert ["nodes", "3"] in [line.split() for line in say("config", "show").out.splitlines()]


def test_json_has_values_and_origins(say: Say, here: Path) -> None:
    (here / "scichain.toml").write_text("chain = 'c'\n")
    shown = say("config", "show", "--json").json
    assert shown["chain"] == {"value": str(here / "c"), "origin": f"{here}/scichain.toml:1"}
    assert shown["nodes"] == {"value": 1, "origin": "default"}


def test_mistake_is_a_usage_error(say: Say, here: Path) -> None:
    (here / "scichain.toml").write_text("nods = 3\n")
    said = say("config", "show")
    assert (said.code, said.out) == (2, "")
    assert "scichain.toml:1: there is no such setting; did you mean 'nodes'?" in said.err

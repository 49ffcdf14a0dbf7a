"""Configuration: what counts for more, where a value comes from, and that nothing misspelled is without effect."""

from __future__ import annotations

import contextlib
import os
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.config import DEFAULT, SETTINGS, Config, load, load_config, settings, wants_strict
from scichain_wf.errors import ConfigError
from scichain_wf.hooks.digests import HashPolicy
from tests.generators import generator

ROOT = "sha256:" + "ab" * 32


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's configuration directory outside every project."""
    directory = tmp_path / "home" / ".config" / "scichain"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


def values(directory: Path, **variables: str) -> Config:
    return load_config(directory, variables)


def test_nothing_configured_is_the_default(project: Path) -> None:
    loaded = load(project, {})
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {DEFAULT}


def test_every_setting_has_a_field_and_every_field_a_setting() -> None:
    assert {setting.name for setting in SETTINGS} == {field.name for field in fields(Config)}


def test_flag_over_variable_over_project_over_user_over_default(project: Path, home: Path) -> None:
    variables = {"HOME": str(home.parents[1])}
    (home / "config.toml").write_text("nodes = 2\nflush_timeout_s = 7\n")
    loaded = load(project, variables)
    assert (loaded.config.nodes, loaded.origins["nodes"]) == (2, f"{home / 'config.toml'}:1")
    (project / "scichain.toml").write_text("# ours\nnodes = 3\n")
    loaded = load(project, variables)
    assert (loaded.config.nodes, loaded.origins["nodes"]) == (3, f"{project / 'scichain.toml'}:2")
    assert loaded.config.flush_timeout_s == 7.0
    variables["SCICHAIN_NODES"] = "4"
    loaded = load(project, variables)
    assert (loaded.config.nodes, loaded.origins["nodes"]) == (4, "$SCICHAIN_NODES")
    loaded = load(project, variables, {"nodes": 5, "flush_timeout_s": None}, "--our-")
    assert (loaded.config.nodes, loaded.origins["nodes"]) == (5, "--our-nodes")
    assert loaded.origins["flush_timeout_s"] == f"{home / 'config.toml'}:2"
    assert loaded.origins["strict"] == DEFAULT


def test_nearest_file_that_is_about_us_counts_alone(project: Path) -> None:
    inner = project / "inner"
    inner.mkdir()
    (project / "scichain.toml").write_text("nodes = 2\nchain = 'chains/a'\n")
    assert values(inner) == Config(chain=project / "chains/a", nodes=2)
    (inner / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert values(inner).nodes == 2
    (inner / "pyproject.toml").write_text("not TOML at all, but not ours either")
    assert values(inner).nodes == 2
    (inner / "pyproject.toml").write_text("[tool.scichain]\nnodes = 3\n")
    assert values(inner) == Config(nodes=3)
    (inner / "scichain.toml").write_text(f"nodes = 4\ntrust_root = '{ROOT}'\n")
    assert values(inner) == Config(nodes=4, trust_root=ROOT)


def test_relative_paths_start_where_the_file_is_or_the_command_was_given(project: Path, home: Path) -> None:
    (home / "config.toml").write_text("chain = 'shared'\n")
    assert values(project, XDG_CONFIG_HOME=str(home.parent)).chain == project / "shared"
    assert values(project, SCICHAIN_CHAIN="c").chain == project / "c"
    assert values(project, SCICHAIN_CHAIN="/srv/c").chain == Path("/srv/c")
    assert load_config(project, {}, {"chain": "d"}).chain == project / "d"


@pytest.mark.parametrize("variables", [{}, {"HOME": ""}, {"HOME": "rel"}, {"XDG_CONFIG_HOME": "rel", "HOME": ""}])
def test_without_a_home_there_is_no_users_file(project: Path, variables: dict[str, str]) -> None:
    assert load_config(project, variables) == Config()


def test_home_of_another_user_configures_nothing(home: Path) -> None:
    (home / "config.toml").write_text("nodes = 7\n")
    variables = {"HOME": str(home.parents[1])}
    assert load(Path("/"), variables).config.nodes == 7
    home.parents[1].chmod(0)
    user = os.geteuid()
    if user == 0:
        os.setresuid(65534, 65534, 0)  # somebody whom modes stop
    try:
        assert load(Path("/"), variables).config == Config()
    finally:
        os.setresuid(user, user, user)
        home.parents[1].chmod(0o700)


def test_variables_that_a_run_sets_for_its_inner_processes_are_no_configuration(project: Path) -> None:
    inner = {"SCICHAIN_RUN_ID": "x", "SCICHAIN_RUN_CHAIN": "y", "SCICHAIN_RUN_ROOT": "z"}
    assert values(project, **inner, SCICHAIN_DEBUG="1", OTHER="z") == Config()


def test_patterns_in_the_environment_are_separated_by_commas(project: Path) -> None:
    assert values(project, SCICHAIN_REDACT="lab-*,abc").redact == ("lab-*", "abc")
    (project / "scichain.toml").write_text("redact = ['a,bc']\n")
    assert values(project).redact == ("a,bc",)


@pytest.mark.parametrize("text", ["0000-0002-1825-0097", "https://orcid.org/0000-0002-1825-0097"])
def test_orcid_of_an_author_is_its_address(project: Path, text: str) -> None:
    assert values(project, SCICHAIN_AUTHOR=text).author == "https://orcid.org/0000-0002-1825-0097"
    assert values(project, SCICHAIN_AUTHOR="0000-0002-1694-233X").author == "https://orcid.org/0000-0002-1694-233X"
    assert values(project, SCICHAIN_AUTHOR="Ada Lovelace").author == "Ada Lovelace"


def test_policies_are_those_that_hooks_know() -> None:
    assert {str(policy) for policy in HashPolicy} == set(settings._HASH_POLICIES)


@pytest.mark.parametrize("text", ["true", "1", "Yes", "on"])
def test_truth_in_the_environment_has_many_words(project: Path, text: str) -> None:
    assert values(project, SCICHAIN_STRICT=text).strict
    (project / "scichain.toml").write_text("strict = true\n")
    assert not values(project, SCICHAIN_STRICT="off").strict


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("node = 3", "did you mean 'nodes'"),
        ("trustroot = 'x'", "did you mean 'trust_root'"),
        ("nodes = 0", "0 is not a number of agents from 1 to"),
        (f"nodes = {limits.EMBEDDED_NODES_MAX + 1}", "not a number of agents"),
        ("nodes = 1.5", "not a number of agents"),
        ("nodes = true", "true is not a number of agents"),
        ("nodes = '3'", "'3' is not a number of agents"),
        ("nodes = [3]", "not a number of agents"),
        ("chain = ''", "path of a chain"),
        ("chain = 3", "path of a chain"),
        (r'chain = "a\u0000b"', "path of a chain"),
        ("chain = '~nobody-of-this-name/x'", "path of a chain"),
        (f"chain = '{'x' * 5000}'", "path of a chain"),
        ("strict = 1", "1 is not true or false"),
        ("strict = 'yes'", "true or false"),
        ("flush_timeout_s = nan", "number of seconds from 1 to"),
        ("flush_timeout_s = inf", "number of seconds"),
        ("flush_timeout_s = 0", "number of seconds"),
        ("hash_policy = 'never'", "one of `always`, `cached`"),
        ("hash_policy = ['off']", "one of"),
        ("redact = 'abc*'", "array of at most"),
        ("redact = ['ab']", "array of at most"),
        ("redact = [3]", "array of at most"),
        ("size_mtime_patterns = '*.bam'", "array of at most"),
        ("size_mtime_patterns = ['x']", "array of at most"),
        ("size_mtime_above_mib = 0", "number of mebibytes"),
        ("size_mtime_above_mib = '10G'", "number of mebibytes"),
        ("author = '0000-0002-1825-0098'", "an ORCID iD"),
        ("author = ''", "an ORCID iD"),
        ("author_key = 3", "path of a key file"),
        ("interface = ''", "name of a network interface"),
        ("interface = 7", "name of a network interface"),
        ("port_range = '7-3'", "range of ports"),
        ("port_range = 20000", "range of ports"),
        ("trust_root = 'sha256:12'", "chain id"),
        ("trust_root = 12", "chain id"),
    ],
)
@pytest.mark.parametrize(("name", "head"), [("scichain.toml", ""), ("pyproject.toml", "[tool.scichain]\n")])
def test_what_makes_no_sense_is_refused_with_file_and_line(
    project: Path, name: str, head: str, line: str, said: str
) -> None:
    (project / name).write_text(f"# a comment\n{head}{line}\n")
    with pytest.raises(ConfigError, match=said) as refused:
        load(project, {})
    assert str(refused.value).startswith(f"{project / name}:{3 if head else 2}: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nodes = 0", 1),
        ("# nodes\n\nnodes = 0", 3),
        ("chain = '''\nnodes = 3\n'''\nnodes = 0\n# nodes = 7", 4),
        ("chain = 'nodes'\nnodes = 0\ntrust_root = 'nodes'", 2),
        ('"nodes" = 0', 1),
        ("nodes =\\\n", None),
    ],
)
def test_line_of_a_key_is_where_it_is_written(project: Path, text: str, line: int | None) -> None:
    (project / "scichain.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(project, {})
    place = f"{project / 'scichain.toml'}:" + (f"{line}: " if line else " ")
    assert str(refused.value).startswith(place)


def test_key_in_disguise_is_told_without_a_line(project: Path) -> None:
    (project / "scichain.toml").write_text('"\\u006eodes" = 0\n')
    with pytest.raises(ConfigError) as refused:
        load(project, {})
    assert str(refused.value).startswith(f"{project / 'scichain.toml'}: 0 is not")


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("SCICHAIN_CHIAN", "x", "did you mean 'chain'"),
        ("SCICHAIN_", "x", "there is no such setting"),
        ("SCICHAIN_NODES", "", "'' is not a number"),
        ("SCICHAIN_NODES", "1_0", "'1_0' is not a number"),
        ("SCICHAIN_NODES", " 3", "not a number"),
        ("SCICHAIN_NODES", "9" * 5000, "not a number"),
        ("SCICHAIN_NODES", "٣", "not a number"),
        ("SCICHAIN_STRICT", "maybe", "'maybe' is not true or false"),
        ("SCICHAIN_FLUSH_TIMEOUT_S", "1e400", "seconds"),
        ("SCICHAIN_FLUSH_TIMEOUT_S", "nan", "seconds"),
        ("SCICHAIN_TRUST_ROOT", "x", "chain id"),
        ("SCICHAIN_CHAIN", "", "path"),
    ],
)
def test_senseless_variable_is_named(project: Path, variable: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load(project, {variable: text})
    assert str(refused.value).startswith(f"${variable}: ")
    assert len(str(refused.value)) < 300


def test_senseless_flag_is_named(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--logger-scichain-flush-timeout-s: 0"):
        load(project, {}, {"flush_timeout_s": 0}, "--logger-scichain-")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\0", b"nodes = ", b"a = " + b"[" * 5000, b"n = " + b"9" * 9999])
def test_file_that_is_no_toml_is_named(project: Path, data: bytes) -> None:
    (project / "scichain.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"scichain\.toml"):
        load(project, {})


def test_file_that_cannot_be_read_is_named(project: Path) -> None:
    file = project / "scichain.toml"
    file.mkdir()
    with pytest.raises(ConfigError, match=r"scichain\.toml: Is a directory"):
        load(project, {})
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(ConfigError, match=r"scichain\.toml: not a regular file"):
        load(project, {})
    file.unlink()
    file.write_bytes(b"#" * (limits.CONFIG_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match=r"scichain\.toml: more than \d+ bytes"):
        load(project, {})


@given(st.dictionaries(st.sampled_from([s.name for s in SETTINGS]), st.text(), max_size=5))
def test_any_text_in_the_environment_is_taken_or_refused_in_words(settings: dict[str, str]) -> None:
    variables = {f"SCICHAIN_{name.upper()}": text for name, text in settings.items()}
    with contextlib.suppress(ConfigError):
        config = load_config(Path("/srv"), variables)
        assert 1 <= config.nodes <= limits.EMBEDDED_NODES_MAX
        assert limits.FLUSH_TIMEOUT_S_MIN <= config.flush_timeout_s <= limits.FLUSH_TIMEOUT_S_MAX


def test_the_manuals_page_is_current() -> None:
    made = generator("generate_configuration")
    assert made.PAGE.read_text() == made.page(), "run `python docs/generate_configuration.py`"


@pytest.mark.parametrize(
    ("text", "variables", "flags", "strict"),
    [
        ("strict = true\nnods = 2\n", {}, {}, True),
        ("nods = 2\nstrict = true\n", {"SCICHAIN_STRICT": "false"}, {}, False),
        ("strict = [\n", {"SCICHAIN_NODS": "2", "SCICHAIN_STRICT": "yes"}, {}, True),
        ("strict = [\n", {"SCICHAIN_STRICT": "maybe"}, {"nodes": 0, "strict": True}, True),
        ("nods = 2\n", {}, {"strict": None}, False),
    ],
)
def test_strict_is_heard_whatever_else_is_wrong(
    project: Path, text: str, variables: dict[str, str], flags: dict[str, object], strict: bool
) -> None:
    (project / "scichain.toml").write_text(text)
    with pytest.raises(ConfigError):
        load(project, variables, flags)
    assert wants_strict(project, variables, flags) is strict

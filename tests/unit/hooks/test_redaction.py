"""Secrets do not get into records, and no text takes the redaction long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import ConfigError
from scichain_wf.hooks.records import Engine, TaskFacts, run_start_body, task_body
from scichain_wf.hooks.redaction import REDACTED, USUAL, Redaction
from scichain_wf.model import canonical

WORD = "hunter2"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\nhunter2==\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        "curl --password hunter2 x",
        "curl --db-password   'hunter2 hunter2' x",
        "PGPASSWORD=hunter2 psql",
        "export AWS_SECRET_ACCESS_KEY=hunter2",
        "java -Ddb.password=hunter2 x",
        "prog --api-key=hunter2;next",
        "prog --token 'hunter2'",
        "prog --token 'hunter2 and it never ends",
        'X_SECRET: "hunter2 more"',
        '{"api_key": "hunter2", "n": 1}',
        r"'{\"password\": \"hunter2\"}'",
        "{'Access-Key': 'hunter2'}",
        "curl -H 'Authorization: Bearer hunter2hunter2'",
        "curl -H 'authorization: token hunter2'",
        "Basic aHVudGVyMg== hunter2".replace(" hunter2", ""),
        "git clone https://me:hunter2@host/x",
        f"echo '{PEM}' > key",
        PEM[:50],
    ],
)
def test_usual_spellings_are_replaced(text: str) -> None:
    shown = USUAL.text(text)
    assert WORD not in shown
    assert REDACTED in shown
    assert USUAL.text(shown) == shown


@pytest.mark.parametrize(
    "key",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEF",
        "github_pat_0123456789abcdefghij",
        "glpat-0123456789abcdefghij",
        "xoxb-0123456789-abc",
        "hf_0123456789abcdefghij",
        "sk-0123456789abcdefghij",
        "AIza" + "0123456789abcdefghijklmnopqrstuvwxy",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xx.c2lnbmF0dXJl",
    ],
)
def test_keys_of_well_known_services_are_replaced_wherever_they_stand(key: str) -> None:
    assert USUAL.text(f"tool -x {key} --y") == f"tool -x {REDACTED} --y"
    assert USUAL.text(f"<{key}>") == f"<{REDACTED}>"


@pytest.mark.parametrize(
    "text",
    ["tokenize --in x", "sort -k1,1 in > out", "echo secretary", "wget https://host:80/x", "a@b:c", "basic x", ""],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert USUAL.text(text) == text


def test_a_secret_in_an_argument_ends_where_the_argument_ends() -> None:
    secret = ["--password=hunter2 hunter2", "--token", "hunter2 'x'", "TOKEN=hunter2\nhunter2"]
    assert USUAL.arguments(["tool", *secret, "--key-file", "k"]) == [
        "tool",
        f"--password={REDACTED}",
        "--token",
        REDACTED,
        f"TOKEN={REDACTED}",
        "--key-file",
        "k",
    ]
    assert USUAL.arguments(["--token", "--verbose", "x"]) == ["--token", "--verbose", "x"]
    assert USUAL.arguments([]) == []


def test_own_patterns_are_text_with_stars() -> None:
    own = Redaction(["corp-*", "id:*:key", "[x]+"])
    assert own.text("a corp-77/x 'corp-1' b") == f"a {REDACTED} '{REDACTED}' b"
    assert own.text("id:7:key id:7:other id: :key") == f"{REDACTED} id:7:other id: :key"
    assert own.text("[x]+ xx") == f"{REDACTED} xx"
    assert own.text("--token hunter2") == f"--token {REDACTED}"


@pytest.mark.parametrize("pattern", ["", "*", "ab*", "  *", "*abc", "x" * (limits.NAME_CHARS_MAX + 1)])
def test_patterns_that_would_match_nearly_everything_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern to redact"):
        Redaction([pattern])


def test_patterns_are_bounded_in_number() -> None:
    with pytest.raises(ConfigError, match="allowed are"):
        Redaction(["abc*"] * (limits.PATTERNS_MAX + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "-",
        "password",
        "password ",
        "--token ",
        "token-",
        "token\\\"",
        "secret=\"",
        "secret='",
        "--a",
        "-a ",
        "api_key:",
        "://",
        "://a:",
        "://a:a",
        "eyJ-",
        "eyJaaaaaaaa.",
        "sk-",
        "ghp_",
        "bearer ",
        "basic a",
        "authorization: ",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "corp-",
        "corp-x",
        " ",
        "\n",
    ],
)
def test_no_text_takes_time_that_grows_with_its_square(unit: str) -> None:
    """Eight times the longest text there is: what went through it again and again would run into the time limit."""
    text = unit * (8 * limits.TEXT_CHARS_MAX // len(unit))
    own = Redaction(["corp-*y*z", "corp-*"])
    for tail in ("", "!"):
        own.text(text + tail)
        own.arguments([text + tail, text])


@given(st.text(), st.text())
def test_redaction_changes_nothing_but_secrets_and_twice_is_once(before: str, after: str) -> None:
    shown = USUAL.text(f"{before} PGPASSWORD=hunter2 {after}")
    assert "=hunter2 " not in shown
    assert USUAL.text(shown) == shown


def test_a_secret_that_the_length_limit_cuts_is_still_replaced() -> None:
    text = "x" * (limits.TEXT_CHARS_MAX - 10) + " AKIAIOSFODNN7EXAMPLE"
    body = task_body(Engine("e", "1"), TaskFacts("t", "t", command=text), "n", "u")
    assert "AKIA" not in str(body["command"])
    assert (body["redacted"], body["truncated"]) == (["command"], ["command"])


def test_every_field_of_a_record_is_cleaned_with_the_users_patterns_too() -> None:
    own = Redaction(["corp-*"])
    facts = TaskFacts(
        "t",
        "t",
        arguments=["tool", "--password", "hunter2", "corp-hunter2", "a b"],
        params={"api_key": "hunter2", "list": ["corp-hunter2"], "n": 1},
        wildcards={"x": "token=hunter2"},
        error_class="E",
        error_message="cannot log in with corp-hunter2",
    )
    body = task_body(Engine("e", "1"), facts, "n", "u", own)
    assert WORD not in canonical.encode(body).decode()
    assert body["redacted"] == ["command", "error", "params", "wildcards"]
    assert body["command"] == f"tool --password '{REDACTED}' '{REDACTED}' 'a b'"
    begun = run_start_body(Engine("e", "1"), [], "u", 1, ["x", "corp-hunter2"], None, {"token": "hunter2"}, own)
    assert WORD not in canonical.encode(begun).decode()


def test_long_and_many_arguments_are_cut_and_the_record_says_so() -> None:
    for arguments in (["x" * 5_000], ["x"] * 5_000, ["y" * 4_000] * 30):
        body = task_body(Engine("e", "1"), TaskFacts("t", "t", arguments=arguments), "n", "u")
        assert body["truncated"] == ["command"]
        assert len(str(body["command"])) <= limits.TEXT_CHARS_MAX

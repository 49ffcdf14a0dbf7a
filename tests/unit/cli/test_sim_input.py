"""`scichain-wf sim`: whatever is typed, a person is told what is wrong with it, or gets a verdict that holds."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from scichain_wf import cli
from scichain_wf.sim import presets
from scichain_wf.sim.faults import Kind
from scichain_wf.sim.latency import Latency
from scichain_wf.sim.lies import LIES

SMALL = ["sim", "--nodes=3", "--duration=0.4"]
LONG = "9" * 5_000


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("--nodes=0", "1 to 10,000"),
        ("--nodes=10001", "1 to 10,000"),
        ("--nodes=1_0", "1 to 10,000"),
        ("--nodes=٣", "1 to 10,000"),
        ("--nodes= 3", "1 to 10,000"),
        (f"--nodes={LONG}", "1 to 10,000"),
        ("--duration=-1", "0 to 1,000,000"),
        ("--duration=nan", "0 to 1,000,000"),
        ("--duration=1_0", "0 to 1,000,000"),
        ("--duration=1e7", "0 to 1,000,000"),
        ("--drain=inf", "0 to 1,000,000"),
        (f"--rate={LONG}", "0 to 1,000,000"),
        ("--rate=x", "0 to 1,000,000"),
        ("--latency=wifi", "infiniband, ethernet, a number of µs"),
        ("--latency=lognormal:250", "lognormal:MEDIAN:SIGMA"),
        ("--latency=lognormal:1:1e9", "0 to 10"),
        ("--latency=exponential:-1:2", "0 to 10,000,000"),
        ("--latency=1e8", "0 to 10,000,000"),
        ("--latency=uniform:2:1", "LOW is above HIGH"),
        ("--difficulty=7", "0 to 6 nor adaptive"),
        ("--mining=all", "'own', 'race'"),
        ("--quorum=all", "'majority', 'byzantine'"),
        ("--storage-weight=0", "1 to 10,000, nor decisive"),
        (f"--storage-weight=00000001{LONG}", "1 to 10,000, nor decisive"),
        ("--tail-links=0", "1 to 9,007,199,254,740,991"),
        ("--faults=crash,flood", "none, all, crash, storage"),
        ("--liars=4", "there are 3 nodes"),
        ("--liars=-1", "0 to 10,000"),
        ("--seed=1.5", "a whole number from -9,007"),
        ("--seeds=0", "1 to 1,000,000"),
        ("--fault=crash", "crash:AT:UNTIL:SLOT"),
        ("--fault=flood:1:2", "one of crash"),
        ("--fault=crash:2:1:1", "from 2 to 1,000,000"),
        ("--fault=crash:0:inf:1", "from 0 to 1,000,000"),
        ("--fault=crash:1:2:x", "crash:AT:UNTIL:SLOT"),
        (f"--fault=crash:1:2:{LONG}", "crash:AT:UNTIL:SLOT"),
        ("--fault=crash:1:2:1:5", "crash:AT:UNTIL:SLOT)"),
        ("--fault=crash:1:2:1:0:0", "crash:AT:UNTIL:SLOT"),
        ("--fault=crash:1:2:4", "slots are 1 to 3"),
        ("--fault=crash:1:2:0", "slots are 1 to 3"),
        ("--fault=crash:1:2:1,2", "slots are 1 to 3"),
        ("--fault=storage:1:2:1", "0 is storage"),
        ("--fault=cut:1:2:1,1", "slots are 1 to 3"),
        ("--fault=partition:1:2", "slots are 1 to 3"),
        ("--fault=loss:1:2:3:0.1", "loss:AT:UNTIL::PROBABILITY"),
        ("--fault=loss:1:2::1.5", "from 0 to 1 "),
        ("--fault=skew:1:2:1", "from 0.01 to 100"),
        ("--fault=skew:1:2:1:1e308", "from 0.01 to 100"),
        ("--fault=slow-disk:1:2:0:1e300", "from 0 to 10"),
        ("--fault=between:1:2:1:0.5", "from 1 to 1,000,000"),
        ("--lie=1:truth", "equivocate, withhold"),
        ("--lie=x:push", "SLOT:LIE"),
        (f"--lie={LONG}:push", "SLOT:LIE"),
        ("--lie=4:push", "slots 1 to 3"),
        ("--probe=121", "ends at 120.4 s"),
        ("--json=nowhere/x.json", "No such file or directory"),
        (f"--json={'x' * 300}", "File name too long"),
        ("--json=", "is a directory"),
        ("--plot=.", "is a directory"),
        ("--plot=-", "latency.svg"),
    ],
)
def test_bad_value_names_the_option_and_what_is_allowed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, allowed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run([*SMALL, option]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert len(said.err) < 700
    assert option.partition("=")[0] in said.err
    assert allowed in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lie=1:push", "--lie=1:push"], "each slot once"),
        (["--lie=1:push", "--lie=2:forge", "--liars=2"], "4 with those of --lie"),
        (["--fault=rollback:0.1:0.3", "--fault=rollback:0.2:0.4"], "before another has ended"),
        (["--rate=1e6", "--duration=1e6"], "1,000,000,000,000 tasks are too many"),
        (["--seed=9007199254740991", "--seeds=2"], "the last seed would be above"),
        (["--json=x", "--plot=./x"], "name two files"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run([*SMALL, *options]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert options[0].partition("=")[0] in printed.err
    assert said in printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "because"),
    [
        (["--fault=crash:0.1:500:1"], "one ends at 500 s, after the run"),
        (["--fault=crash:0.1:0.2:1", "--drain=50"], "--probe 30.4 --drain 60 is enough"),
        (["--fault=crash:0.1:80:1", "--probe=90"], "--probe 110 --drain 139.6 is enough"),
        (["--probe=0.2", "--tail-links=1"], "load and faults end at 0.4 s"),
        (["--faults=crash", "--latency=1000000"], "at most 250,000 µs are enough"),
        (["--faults=crash", "--latency=lognormal:1000:3"], "at most 250,000 µs are enough"),
    ],
)
def test_what_nobody_could_keep_in_time_is_refused_and_not_called_broken(
    capsys: pytest.CaptureFixture[str], options: list[str], because: str
) -> None:
    assert cli.run([*SMALL, *options]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert because in said.err
    assert "or --no-check" in said.err


@pytest.mark.parametrize(
    "options",
    [
        ["--fault=crash:0.1:80:1", "--probe=110", "--drain=139.6"],
        ["--fault=skew:0.1:0.3:1:100", "--fault=slow-disk:0:0.4::10", "--drain=60"],
        ["--faults=crash,loss", "--latency=250000", "--drain=60"],
        ["--latency=10000000"],
        ["--latency=lognormal:1000:10", "--drain=1000000"],
        ["--tail-links=9007199254740991", "--seed=-9007199254740991"],
        ["--rate=1e-320", "--faults=all"],
    ],
)
def test_what_is_just_allowed_breaks_nothing(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert cli.run([*SMALL, *options]) == 0
    assert capsys.readouterr().out.startswith("no promise broke")


def test_run_too_short_for_its_load_is_undecided_and_says_how_long_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Spec: LIVE-1."""
    slow = [*SMALL, "--difficulty=6", "--seeds=3"]
    assert cli.run([*slow, "--drain=5"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("undecided, the run was too short: LIVE-1: ")
    assert "\n  seed                        1\n" in said.out
    enough = re.search(r"--drain 5: too short for this load; with --drain ([0-9]+) everything", said.err)
    assert enough
    assert cli.run([*slow, "--seeds=1", f"--drain={enough[1]}"]) == 0
    assert capsys.readouterr().out.startswith("no promise broke")
    assert cli.run([*slow, "--seeds=1", f"--drain={int(enough[1]) - 1}"]) == 2


def test_every_kind_of_fault_is_told_with_its_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sim", "--help"]) == 0
    shown = capsys.readouterr().out
    for kind in Kind:
        assert f"\n    {presets.fault_form(kind)} " in shown


def test_a_delay_is_cut_where_it_is_no_delay_any_more() -> None:
    class Highest:
        def gauss(self, _mean: float, _sigma: float) -> float:
            return 80.0

    assert Latency.parse("lognormal:1:10").draw(Highest()) == 10.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "long_s"),
    [
        ("infiniband", 2e-6),
        ("uniform:1:5", 5e-6),
        ("exponential:2:1", 15.8e-6),
        ("lognormal:1000:0", 1e-3),
        ("lognormal:1e6:10", 10.0),
    ],
)
def test_long_delays_are_rare(text: str, long_s: float) -> None:
    assert Latency.parse(text).long_s == pytest.approx(long_s)


# --- anything at all ----------------------------------------------------------------------------------
NUMBERS = st.one_of(
    st.sampled_from(["nan", "inf", "-1", "1_0", "٣", "", " 1", "1e308", "1e-320", LONG, "00000001" + LONG]),
    st.integers(0, 4).map(str),
    st.floats(0, 2).map(repr),
)
NAMES = st.sampled_from([*Kind, *LIES, "none", "all", "fixed", "decisive", "adaptive", "own"])
ANYTHING = st.one_of(st.text(max_size=20), NUMBERS, NAMES)
"""Of any option; beside what nearly is what the option takes."""
NEARLY = {
    "fault": st.builds(
        "{}:{}:{}:{}:{}".format,
        st.sampled_from(list(Kind)),
        NUMBERS,
        NUMBERS,
        st.sampled_from(["", "0", "1", "2", "3", "1,2", "0,1,2", LONG]),
        NUMBERS,
    ),
    "latency": st.builds("{}:{}:{}".format, st.sampled_from(["uniform", "exponential", "lognormal"]), NUMBERS, NUMBERS),
    "lie": st.builds("{}:{}".format, NUMBERS, st.sampled_from(list(LIES))),
    "faults": st.lists(NAMES, max_size=3).map(",".join),
    "json": st.sampled_from(["-", ".", "", "x", "x.svg", "x" * 300, "a\0b"]),
    "plot": st.sampled_from(["-", ".", "", "x", "x.svg", "x" * 300, "a\0b"]),
    **dict.fromkeys(("nodes", "duration", "rate", "storage-weight", "tail-links", "liars"), NUMBERS),
    **dict.fromkeys(("seed", "seeds", "drain", "probe", "difficulty"), NUMBERS),
    **dict.fromkeys(("mining", "quorum"), NAMES),
}
GIVEN = st.sampled_from(sorted(NEARLY)).flatmap(
    lambda option: st.tuples(st.just(option), st.one_of(NEARLY[option], NEARLY[option], ANYTHING))
)


def takes_long(option: str, value: str) -> bool:
    """Whether it asks for a run that is allowed and large."""
    most = {"nodes": 4, "duration": 0.5, "rate": 60, "seeds": 3, "drain": 100}.get(option)
    try:
        return most is not None and float(value) > most
    except ValueError:
        return False


@example(options=[("lie", f"{LONG}:push")], check=True)
@example(options=[("fault", "skew:0:0.05:1:1e308")], check=False)
@example(options=[("latency", "lognormal:1:1e9")], check=True)
@example(options=[("storage-weight", f"00000001{LONG}")], check=True)
@example(options=[("json", "x" * 300)], check=True)
@given(options=st.lists(GIVEN, min_size=1, max_size=3), check=st.booleans())
def test_any_text_ends_in_a_verdict_or_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, options: list[tuple[str, str]], check: bool
) -> None:
    assume(not any(takes_long(*one) for one in options))
    assume(not any(option in {"json", "plot"} and "/" in value for option, value in options))
    arguments = ["sim", "--nodes=2", "--duration=0.1", "--rate=20", *([] if check else ["--no-check"])]
    arguments += [f"--{option}={value}" for option, value in options]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(tmp_path_factory.mktemp("any"))
        code = cli.run(arguments)
    assert code in {0, 1, 2}, err.getvalue()
    assert "internal error" not in err.getvalue()
    if code == 2 and not out.getvalue():  # refused; what is undecided has a table, too
        assert err.getvalue().startswith("scichain-wf: ")
        assert err.getvalue().count("\n") == 1
    else:
        assert out.getvalue()

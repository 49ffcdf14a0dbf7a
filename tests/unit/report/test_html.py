"""The report without a browser: what it contains, what it never contains, and results with nothing in them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from scichain_wf.audit import Finding, Result
from scichain_wf.audit.account import Account, Flow, Group
from scichain_wf.ledger.problem import Problem
from scichain_wf.report.html import to_html
from scichain_wf.report.lineage import layered
from scichain_wf.report.markup import el, lasting, when
from tests.browser.stories import HOSTILE, story


def page(result: Result) -> str:
    return to_html(result, "1.2.3", 1_750_000_900_000_000)


def data(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_policy_names_the_one_style_and_the_one_script() -> None:
    text = page(story(20))
    for kind in ("style", "script"):
        [content] = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src &#x27;sha256-{digest}&#x27;" in text
    assert "default-src &#x27;none&#x27;" in text
    assert " style=" not in text
    assert not re.search(r"(?:src|href)=\"(?!#)", text)


def test_hostile_names_are_escaped_and_the_data_survives_them() -> None:
    text = page(story(20, suffix=HOSTILE))
    assert "<img" not in text
    assert text.count("</script>") == 2
    assert not {"\x1b", "\u202e", "\ud800"} & set(text)
    text.encode()
    assert "onerror=alert(1)" in data(text)["groups"][0]


def test_columns_are_what_the_account_has() -> None:
    result = story(20)
    assert result.account is not None
    columns = data(page(result))
    assert columns["tasks"]["label"][3] == " sample=00000"
    assert columns["tasks"]["attempt"] == {"all": 1, "n": 20}
    assert columns["artifacts"]["digest"][5] == result.account.artifacts[5].digest
    steps = columns["artifacts"]["maker"]["by"]
    assert [sum(steps[: at + 1]) for at in range(4)] == [-1, 0, 0, 1]
    result.account.tasks[0] = result.account.tasks[0]._replace(task="named otherwise")
    assert data(page(result))["tasks"]["label"][0] == "~named otherwise"


def test_findings_of_a_kind_are_cut_and_counted() -> None:
    findings = tuple(Finding.of(Problem("file-changed", f"/f{number}")) for number in range(30))
    text = page(Result("x", findings, dropped={"SC-FILE-001": 5}))
    assert text.count('class="finding bad"') == 20
    assert "and 15 more of SC-FILE-001" in text


@pytest.mark.parametrize("result", [
    Result("x"), Result("x", account=Account()), Result("x", (Finding.of(Problem("unreadable", "records")),)),
], ids=["nothing", "empty account", "unreadable"])
def test_what_is_not_there_is_said(result: Result) -> None:
    text = page(result)
    assert text.count("<section ") == 11
    assert ("The records could not be read" in text) is (result.account is None)


def test_many_tasks_are_drawn_as_how_many_run_at_a_time() -> None:
    few, many = page(story(1_000, nodes=50)), page(story(2_000, nodes=2))
    assert 'class="crowd"' not in few
    assert "40 nodes are drawn" in few
    assert many.count('class="crowd"') == 2
    assert "at a time</text>" in many


def test_many_groups_and_runs_are_cut_and_say_so() -> None:
    result = story(10)
    account = result.account
    assert account is not None
    account.groups += [Group(f"rule {number}" + "x" * 30, 1, 0, 1.0) for number in range(250)]
    account.runs = account.runs * 300
    account.tasks += [task._replace(run=run) for run in range(1, 9) for task in account.tasks[:10]]
    account.tasks_total = 1_000
    account.slots, account.flows = [], [Flow(0, 0, 3)]
    text = page(result)
    assert "The 200 largest are drawn, 60 are not." in text
    assert "and 100 older runs" in text
    assert "90 of 1,000 tasks" in text
    assert "The newest 5 of 9 runs are drawn." in text
    assert "No slot has made or judged a block" in text


def test_layers_lead_forward_and_cycles_are_broken() -> None:
    edges = [(0, 1), (1, 2), (0, 3), (2, 3), (3, 1)]
    layers, routes = layered([0, 1, 2, 3], edges)
    rank = {node: at for at, layer in enumerate(layers) for node in layer}
    assert {node for layer in layers for node in layer if node >= 0} == {0, 1, 2, 3}
    backward = [edge for edge in edges if rank[edge[0]] > rank[edge[1]]]
    assert backward == [(3, 1)]
    for start, end in edges:
        steps = [rank[node] for node in routes[start, end]]
        assert steps in (list(range(steps[0], steps[-1] + 1)), list(range(steps[0], steps[-1] - 1, -1)))


def test_crossings_are_undone() -> None:
    layers, _ = layered([0, 1, 2, 3], [(0, 3), (1, 2)])
    assert [layers[0].index(0), layers[0].index(1)] == [layers[1].index(3), layers[1].index(2)]


def test_text_is_escaped_wherever_it_stands() -> None:
    assert el("p", "<b>&\x1b", title='"') == '<p title="&quot;">&lt;b&gt;&amp;\\x1b</p>'
    assert el("p", el("b", "x"), cls=None) == "<p><b>x</b></p>"


@pytest.mark.parametrize(("seconds", "shown"), [
    (3e5, "3.5 d"), (9_000, "2.5 h"), (150, "2.5 min"), (2.25, "2.2 s"), (0.0025, "2.5 ms"), (2e-6, "2 µs"),
])
def test_spans_of_time_are_short(seconds: float, shown: str) -> None:
    assert lasting(seconds) == shown


def test_times_of_any_size_are_shown() -> None:
    assert when(None) == ""
    assert when(0) == "1970-01-01 00:00:00 UTC"
    assert when(10**18) == f"{10**18} µs"

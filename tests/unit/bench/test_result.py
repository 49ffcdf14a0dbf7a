"""Results of benchmarks: quantiles, targets, and a document that says what was measured where."""

from __future__ import annotations

import json

import pytest

from scichain_wf.bench.result import Figure, Result, Target, machine


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.5), (0.99, 99), (0.01, 1), (0.005, 1), (1.0, 100)])
def test_a_quantile_is_a_sample_but_for_the_median(share: float, value: float) -> None:
    assert Figure("f", "µs", list(range(100, 0, -1))).quantile(share) == value


def test_a_target_is_met_up_to_its_bound() -> None:
    figure = Figure("f", "µs", [1, 2, 3])
    assert figure.met(Target(2))
    assert not figure.met(Target(1.9))
    assert figure.met(Target(2, at_least=True))
    assert not figure.met(Target(2.1, at_least=True))
    assert not figure.met(Target(2, share=0.99))
    assert figure.met(Target(3, share=0.99))


def test_the_document_holds_every_sample_in_order_and_says_which_target_was_missed() -> None:
    figure = Figure("emit", "µs", [3.0, 1.0, 2.0], (Target(2.0), Target(2.5, 0.99)))
    document = json.loads(json.dumps(Result("emit", {"seed": 1}, (figure,), ("on tmpfs",)).to_json()))
    [shown] = document["figures"]
    assert shown["samples"] == [3.0, 1.0, 2.0]
    assert (shown["median"], shown["p99"]) == (2.0, 3.0)
    assert [target["met"] for target in shown["targets"]] == [True, False]
    assert document["options"] == {"seed": 1}
    assert document["notes"] == ["on tmpfs"]
    assert document["machine"].keys() == machine().keys()


def test_the_machine_has_a_processor_and_versions_but_no_name() -> None:
    import socket

    found = machine()
    assert isinstance(found["cpus"], int)
    assert found["cpus"] >= 1
    assert found["processor"]
    assert socket.gethostname() not in json.dumps(found)

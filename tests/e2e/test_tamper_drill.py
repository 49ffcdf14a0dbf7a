"""The tamper drill: each manipulation is done to a copy of a recorded workflow, and both programs are asked."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.manipulations import MANIPULATIONS, Manipulation
from tests.e2e.tampering import Answer, Drill, record
from tests.generators import generator

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")

Ask = Callable[[Manipulation], Answer]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    base = tmp_path_factory.mktemp("drill")
    record(base)

    def answer(manipulation: Manipulation) -> Answer:
        source, work = base / ("calm" if manipulation.apply else "unruly"), base / "copy"
        subprocess.run(["rm", "-rf", work], check=True)
        subprocess.run(["cp", "-a", source, work], check=True)
        root = (work / ".scichain/trust-root").read_text().split()[1]
        if manipulation.apply is not None:
            manipulation.apply(work)
        return drill.ask(work, root, manipulation.subject)

    with Drill() as drill:
        yield answer


@pytest.mark.parametrize("manipulation", MANIPULATIONS, ids=lambda manipulation: manipulation.name)
def test_both_programs_say_what_the_page_says(ask: Ask, manipulation: Manipulation) -> None:
    """Spec: SAFE-5, AUD-1."""
    found = ask(manipulation)
    assert found.verdict == manipulation.verdict
    assert set(manipulation.findings) <= set(found.findings)
    assert bool(manipulation.findings) == bool(found.findings)
    assert found.reruns == manipulation.reruns


def test_the_manuals_page_is_current() -> None:
    made = generator("generate_tamper_drill")
    assert made.PAGE.read_text() == made.page(), "run `python docs/generate_tamper_drill.py`"

"""Links: what chains, what goes together, what fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import DecodeError
from scichain_wf.model.link import Annotation, Link, Mark, Mode, annotations_digest
from tests.unit.model.samples import chain

LINK = chain()[0].links[4]


def test_a_link_comes_back_and_its_hash_is_its_leaf() -> None:
    for link in chain()[0].links:
        assert Link.decode(link.encode()) == link
        assert Link.decode(memoryview(link.encode())) == link
        assert Link.from_value(link.value()) == link
        assert link.hash == leaf_hash(link.encode())


@pytest.mark.parametrize("change", [{"certificate": None}, {"mode": Mode.EPOCH}])
def test_certificate_and_mode_go_together(change: dict[str, Any]) -> None:
    wrong = replace(LINK, **change)
    with pytest.raises(DecodeError, match="do not go together"):
        wrong.encode()
    with pytest.raises(DecodeError, match="do not go together"):
        Link.from_value(wrong.value())


@pytest.mark.parametrize(
    "annotations",
    [
        (Annotation(2, Mark.DUPLICATE), Annotation(1, Mark.DUPLICATE)),
        (Annotation(1, Mark.DUPLICATE), Annotation(1, Mark.DUPLICATE)),
        (Annotation(1, Mark.UNRESOLVED), Annotation(1, Mark.CONTESTED)),
        (Annotation(1, Mark.CONTESTED, ("a",)), Annotation(1, Mark.CONTESTED, ("b",))),
    ],
)
def test_annotations_are_ordered_and_do_not_repeat(annotations: tuple[Annotation, ...]) -> None:
    wrong = replace(LINK, annotations=annotations)
    with pytest.raises(DecodeError, match="ordered"):
        wrong.encode()
    with pytest.raises(DecodeError, match="ordered"):
        Link.from_value(wrong.value())


def test_sorted_annotations_are_in_the_order_of_the_record() -> None:
    annotations = tuple(sorted(Annotation(index, mark) for index in (3, 1) for mark in Mark))
    assert Link.decode(replace(LINK, annotations=annotations).encode()).annotations == annotations


def test_empty_reasons_are_left_out() -> None:
    data = LINK.encode()
    assert b'"mark":"duplicate"' in data
    with pytest.raises(DecodeError, match="reasons"):
        Link.decode(data.replace(b'"mark":"duplicate"}', b'"mark":"duplicate","reasons":[]}'))


@pytest.mark.parametrize(
    "change",
    [
        {"height": -1},
        {"previous": bytes(31)},
        {"writer": 2**53},
        {"annotations": (Annotation(limits.BLOCK_TRANSACTIONS_MAX, Mark.DUPLICATE),)},
        {"annotations": (Annotation(0, Mark.CONTESTED, ("\ud800",)),)},
    ],
)
def test_a_link_out_of_bounds_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        replace(LINK, **change).encode()


def test_a_link_nobody_could_read_again_is_not_written() -> None:
    reasons = ("x" * limits.TEXT_CHARS_MAX,) * (limits.LINK_BYTES_MAX // limits.TEXT_CHARS_MAX)
    with pytest.raises(DecodeError, match="over the limit"):
        replace(LINK, annotations=(Annotation(0, Mark.CONTESTED, reasons),)).encode()


def test_the_digest_of_annotations_covers_marks_and_reasons() -> None:
    variants = [
        (),
        (Annotation(0, Mark.CONTESTED),),
        (Annotation(0, Mark.DUPLICATE),),
        (Annotation(1, Mark.CONTESTED),),
        (Annotation(0, Mark.CONTESTED, ("a",)),),
        (Annotation(0, Mark.CONTESTED, ("a", "b")),),
    ]
    assert len({annotations_digest(annotations) for annotations in variants}) == len(variants)


@pytest.mark.parametrize("value", [None, [], 1])
def test_what_is_no_link_is_refused(value: Any) -> None:
    with pytest.raises(DecodeError, match="link"):
        Link.from_value(value)

"""The published JSON Schema documents: current, valid, and of the same mind as the code."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from scichain_wf.errors import DecodeError
from tests.generators import DOCS, generator
from tests.unit.model.samples import respelled, samples

FREE = {"params", "wildcards", "arguments", "settings"}


GENERATOR = generator("generate_schema")
DOCUMENTS: dict[str, Any] = {path.name: json.loads(path.read_text()) for path in GENERATOR.DIRECTORY.glob("*.json")}
REGISTRY: Registry[Any] = Registry().with_resources(
    [(name, Resource.from_contents(document)) for name, document in DOCUMENTS.items()]
)


def validator(name: str) -> jsonschema.Draft202012Validator:
    kind = next(kind for kind in ("transaction", "certificate", "link", name) if name.startswith(kind))
    return jsonschema.Draft202012Validator(DOCUMENTS[f"{kind}.schema.json"], registry=REGISTRY)


def test_the_documents_are_current() -> None:
    assert GENERATOR.stale() == []
    assert GENERATOR.main(["--check"]) == 0


def test_the_generator_writes_what_is_missing_and_removes_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "old.schema.json").write_text("{}")
    assert GENERATOR.main(["--check"], tmp_path) == 1
    assert GENERATOR.main([], tmp_path) == 0
    assert GENERATOR.main(["--check"], tmp_path) == 0
    assert not (tmp_path / "old.schema.json").exists()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_is_a_schema_and_is_linked_from_the_reference(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(DOCUMENTS[name])
    assert f"schema/{name}" in (DOCS / "reference" / "records.md").read_text()


@pytest.mark.parametrize("name", samples())
def test_golden_records_validate(name: str) -> None:
    validator(name).validate(json.loads(samples()[name].data))


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all objects of a record's own shape; of a list's items, which share one, the first two."""
    if isinstance(value, dict):
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for step, item in inner:
        if step not in FREE:
            yield from objects(item, (*path, step))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


@pytest.mark.parametrize("name", samples())
def test_mutated_records_do_not_validate(name: str) -> None:
    """An unknown field, a value of a wrong type, a missing field: refused wherever the code refuses them."""
    sample, check = samples()[name], validator(name)
    value = json.loads(sample.data)
    paths = list(objects(value))
    for path in paths[:60]:
        mutated = copy.deepcopy(value)
        at(mutated, path)["zzz"] = 1
        assert not check.is_valid(mutated), path
        for field in at(value, path):
            for wrong in (1.5, {"zzz": 1}, "\x00", -(2**60)):
                mutated = copy.deepcopy(value)
                at(mutated, path)[field] = wrong
                assert field in FREE or not check.is_valid(mutated) or accepted(name, mutated), (*path, field, wrong)
            mutated = copy.deepcopy(value)
            del at(mutated, path)[field]
            assert not check.is_valid(mutated) or accepted(name, mutated) or semantic(name, mutated), (*path, field)


def accepted(name: str, value: Any) -> bool:
    try:
        samples()[name].decode(respelled(value))
    except DecodeError:
        return False
    return True


def semantic(name: str, value: Any) -> bool:
    """Whether the code refuses it for a rule between fields, which JSON Schema cannot state."""
    try:
        samples()[name].decode(respelled(value))
    except DecodeError as error:
        return "without its binding" in str(error)
    return False

"""What surrounds a task: loaded modules, container, conda environment; and the Python that records.

Only what can be read at once: variables, and names of files in two directories. Versions of packages are in the names
of their metadata, so a digest over those names is one over every package and its version.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterable

from scichain_wf import limits
from scichain_wf.hooks.records import TaskFacts
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text

_CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "APPTAINER_NAME", "SINGULARITY_NAME", "container")


def add_environment(facts: TaskFacts) -> None:
    """Note in `facts` what this process runs in; what is not there is left out."""
    modules = os.environ.get("LOADEDMODULES", "")
    facts.modules = [module for module in modules.split(":") if module]
    facts.container = next((found for name in _CONTAINERS if (found := os.environ.get(name))), None)
    prefix = os.environ.get("CONDA_PREFIX")
    if prefix:
        facts.conda_digest = _digest_of_names(os.path.join(prefix, "conda-meta"), (".json",))


def python_environment() -> JsonObject:
    """The Python that records, and the digest of what is installed in it."""
    value: JsonObject = {"python": platform.python_version()}
    digest = _digest_of_names(sysconfig.get_path("purelib"), (".dist-info", ".egg-info"))
    if digest is not None:
        value["packages"] = digest_text(digest)
    return value


def _digest_of_names(directory: str, suffixes: tuple[str, ...]) -> bytes | None:
    """SHA-256 over the sorted names with such an end, each with a newline; None if there are none."""
    names = sorted(os.fsencode(name) for name in _names(directory) if name.endswith(suffixes))
    return hashlib.sha256(b"".join(name + b"\n" for name in names)).digest() if names else None


def _names(directory: str) -> Iterable[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry, _ in zip(entries, range(limits.PACKAGES_MAX), strict=False)]
    except OSError:
        return ()

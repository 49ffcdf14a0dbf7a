"""Chains of clean runs in many shapes, with their files: nothing in them is wrong, and no audit may say so."""

from __future__ import annotations

import random
from pathlib import Path

from scichain_wf.filehash import hash_directory
from scichain_wf.ledger import keys
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import RunId, Transaction
from tests.builders import ChainBuilder
from tests.chains import DiskChain

ENGINES = ({"name": "snakemake", "version": "9.27.0"}, {"name": "parsl", "version": "2026.1"})


class CleanRuns:
    """One chain in `root`, with one to three runs: re-runs, overwritten and temporary outputs, retries, two engines."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root, self._rng = root, rng
        root.mkdir(parents=True)
        slots = rng.choice((1, 3, 4))
        with DiskChain(root / ".scichain", ChainBuilder(slots=slots, seed=rng.randrange(1_000))) as chain:
            self.layout, self._build = chain.layout, chain.builder
            for number in range(rng.randint(1, 3)):
                if number:
                    self._build.run = RunId(self._build.key())
                self._append(chain, self._run())
            chain.checkpoint()

    def _append(self, chain: DiskChain, records: list[Transaction]) -> None:
        size = keys.SPAN + 1  # once at least, so that every index of the ledger has an entry
        while records:
            part, records = records[:size], records[size:]
            block = self._build.block(self._rng.randint(1, self._build.slots), part)
            chain.append(self._build.poet(block) if self._rng.random() < 0.2 else self._build.quorum(block))
            size = self._rng.randint(1, 2 * keys.SPAN)

    def _run(self) -> list[Transaction]:
        build, rng = self._build, self._rng
        engine: JsonObject = dict(rng.choice(ENGINES))
        start = build.run_start(path=str(self.root), from_chain="..")
        records = [build.transaction(Kind.RUN_START, {**start.body, "engine": engine})]
        tasks, intents = rng.randint(keys.SPAN, 2 * keys.SPAN), 0
        before: list[JsonObject] = []
        retries = 0
        for number in range(tasks):
            name = f"step n={number}"
            read = rng.sample(before, min(len(before), rng.randint(0, 3)))
            inputs = [build.artifact("raw/source.txt", b"raw"), *read]
            if rng.random() < 0.5:
                records.append(self._intent(name, engine))
                intents += 1
            attempt = 1
            if rng.random() < 0.2:  # the first try fails, and its output is deleted
                lost = build.artifact(f"out/{number}.txt", b"half")
                records.append(build.task(name, inputs, [lost], engine=engine, status="failed", exit_status=1))
                attempt, retries = 2, retries + 1
            outputs = self._outputs(number)
            more = {"engine": engine, "attempt": attempt}
            records.append(build.task(name, inputs, outputs, **more))
            if attempt == 2 and self._rng.random() < 0.5:
                records.append(self._intent(name, engine, 2))
                intents += 1
            before += [output for output in outputs if "digest" in output]
        end = build.run_end(tasks + retries, intents)
        tally: JsonObject = {"planned": tasks, "finished": tasks, "failed": 0}
        return [*records, build.transaction(Kind.RUN_END, {**end.body, "tally": tally})]

    def _intent(self, name: str, engine: JsonObject, attempt: int = 1) -> Transaction:
        body: JsonObject = {
            "engine": engine, "name": "step", "task": name, "attempt": attempt, "outputs": [], "node": "node-1",
            "started_us": self._build.tick(1),
        }
        return self._build.transaction(Kind.INTENT, body)

    def _outputs(self, number: int) -> list[JsonObject]:
        """Files of one task, written where they are recorded; a re-run makes some anew, with other contents."""
        rng, build = self._rng, self._build
        content = f"content {number} {rng.choice('aab')}\n".encode()
        made = [self._file(f"out/{number}.txt", content)]
        kind = rng.random()
        if kind < 0.2:
            made.append(build.artifact(f"out/{number}.tmp", content) | {"state": "temporary"})
        elif kind < 0.3:
            directory = self.root / "out" / f"{number}.dir"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "part").write_bytes(content)
            found = hash_directory(directory)
            more: JsonObject = {"state": "directory", "digest": digest_text(found.digest), "files": 1}
            made.append(build.artifact(f"out/{number}.dir", content) | more)
        elif kind < 0.4:
            (self.root / "out" / f"{number}.big").write_bytes(content)
            made.append(build.artifact(f"out/{number}.big"))
        return made

    def _file(self, name: str, content: bytes) -> JsonObject:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return self._build.artifact(name, content)

"""What the golden vectors are made of: one small chain from a fixed seed, and every record in it.

A vector is a file: `.bin` holds a block's bytes, `.json` a record's canonical text with what is computed from it.
Whoever writes another implementation starts from these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from scichain_wf.crypto import merkle, puzzle
from scichain_wf.crypto.hashing import Domain, digest, sha256, tagged
from scichain_wf.model import certificate, uri
from scichain_wf.model.block import Block
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.certificate import PoetCertificate, QuorumCertificate
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.difficulty import Difficulty, anchors, expected
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.receipt import ProvenTransaction, Receipt
from scichain_wf.model.text import ZERO_DIGEST, digest_text, public_key_text
from scichain_wf.model.transaction import Transaction
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch
from tests.builders import ROOT_ID, START_US, Candidate, ChainBuilder

SEED: Final = 20_260_101


@dataclass
class Chain:
    """A chain in memory: what was appended, in order."""

    builder: ChainBuilder
    blocks: list[Block] = field(default_factory=list)
    certificates: list[bytes | None] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def append(self, candidate: Candidate) -> Link:
        """Append as a storage node would."""
        link = Link(
            height=len(self.links),
            previous=self.links[-1].hash if self.links else ZERO_DIGEST,
            block=candidate.block.id,
            certificate=None
            if candidate.certificate is None
            else certificate.certificate_digest(candidate.certificate),
            mode=candidate.mode,
            epoch=candidate.epoch,
            annotations=candidate.annotations,
            writer=1 if self.links else 0,
            time_us=self.builder.tick(),
        )
        self.blocks.append(candidate.block)
        self.certificates.append(candidate.certificate)
        self.links.append(link)
        self.builder.linked(link)
        return link

    def proven(self, height: int, index: int) -> ProvenTransaction:
        """Transaction `index` of the block at `height` with its paths to the newest root."""
        block, data = self.blocks[height], self.certificates[height]
        return ProvenTransaction(
            transaction=block.transactions[index],
            index=index,
            path=tuple(merkle.inclusion_path(block.leaves, index)),
            header=block.header,
            signature=block.signature,
            certificate=None if data is None else certificate.decode(data),
            link=self.links[height],
            link_path=tuple(merkle.inclusion_path([link.hash for link in self.links], height)),
        )

    def checkpoint(self) -> Checkpoint:
        """Signed by the storage node, cosigned by slots 1 and 2."""
        root = merkle.root([link.hash for link in self.links])
        note = Checkpoint(self.builder.chain, len(self.links), root).sign(self.builder.storage)
        for slot in (1, 2):
            note = note.cosign(self.builder.nodes[slot], slot, START_US // 1_000_000 + slot)
        return note


def full_task(builder: ChainBuilder) -> Transaction:
    """A `task` that uses every field."""
    digest_of = {name: digest_text(sha256(name.encode())) for name in ("code", "conda")}
    inputs: list[JsonObject] = [
        builder.artifact("data/reads_1.fq.gz", b"reads", role="r1")
        | {"origin": "source", "policy": "full", "mtime_us": -1},
        builder.artifact("results/index", b"index", role="idx")
        | {"state": "directory", "files": 6, "origin": "task:index 1", "unstable": False},
        builder.artifact("results/flag") | {"state": "absent", "unresolved": True},
    ]
    outputs = [builder.artifact("results/a b.bam", b"bam", role="bam") | {"unstable": True, "policy": "size-mtime"}]
    return builder.task(
        "align 2",
        inputs,
        outputs,
        submission=2,
        wildcards={"sample": "A", "lane": 1},
        params={"extra": "-t", "sizes": [1, -2, None, True], "note": "größer – 日本語 🧬"},
        arguments=["x", {"y": []}],
        code={"kind": "shell", "digest": digest_of["code"]},
        command='bwa mem -t 4 "ref.fa"\n\t| samtools sort',
        environment={"conda": digest_of["conda"], "container": "docker://quay.io/bwa:1", "modules": ["gcc/13"]},
        exit_status=-9,
        status="failed",
        error={"class": "RuleException", "message": "killed"},
        scheduler={"name": "slurm", "job": "4711"},
        threads=4,
        redacted=["params.token"],
        truncated=["command"],
    )


def other_transactions(builder: ChainBuilder) -> dict[str, Transaction]:
    """One transaction of every kind but `task`, `epoch` and the two that frame a run."""
    plain = builder.artifact("results/a.bam", b"bam")
    statements: list[JsonObject] = []
    for _ in range(2):
        builder.sequences[3] = 7  # the same sequence number twice: what evidence is about
        block = builder.block(3, [builder.task("lie", outputs=[plain])])
        statements.append({"bytes": block.header_bytes.decode(), "signature": block.signature.hex()})
    statements.sort(key=lambda statement: str(statement["bytes"]))
    intent: JsonObject = {
        "engine": {"name": "test", "version": "1"},
        "name": "align",
        "task": "align 2",
        "attempt": 1,
        "outputs": [plain["uri"]],
        "node": "node-1",
        "started_us": builder.tick(1),
        "submission": 1,
        "scheduler": {"name": "slurm", "job": "4711"},
    }
    bodies: dict[Kind, JsonObject] = {
        Kind.INTENT: intent,
        Kind.EVIDENCE: {"about": "header", "statements": list(statements)},
        Kind.ATTESTATION: {key: plain[key] for key in ("uri", "digest", "size_bytes")} | {"node": "node-2"},
        Kind.ANCHOR: {"checkpoint": "a checkpoint's text", "service": "tsa.example.org", "token": "bm90IGEgdG9rZW4="},
        Kind.NOTE: {"text": "checked by hand", "author": "tester", "about": plain["uri"]},
    }
    return {kind.value: builder.transaction(kind, body) for kind, body in bodies.items()}


def build_chain() -> tuple[Chain, dict[str, Transaction]]:
    """Genesis, two epochs, a quorum block and a POET block; and the transactions by kind."""
    builder = ChainBuilder(slots=3, seed=SEED)
    chain = Chain(builder)
    chain.append(Candidate(builder.genesis, Mode.EPOCH, None, 0))
    for candidate in builder.join_all():
        chain.append(candidate)
    kinds: dict[str, Transaction] = {"run-start": builder.run_start(from_chain="..")}
    kinds |= other_transactions(builder) | {"task": full_task(builder)}
    kinds["epoch"] = Transaction.decode(chain.blocks[2].transactions[0])
    order = ["run-start", "intent", "task", "attestation", "anchor", "note", "evidence"]
    chain.append(builder.quorum(builder.block(1, [kinds[kind] for kind in order])))
    kinds["run-end"] = builder.run_end(2, 1)
    again = builder.task("merge", [builder.artifact("results/a b.bam", b"edited")])
    block = builder.block(2, [again, kinds["run-end"], kinds["note"]])
    annotations = (
        Annotation(0, Mark.CONTESTED, ("input 0: no recorded version has this digest",)),
        Annotation(2, Mark.DUPLICATE),
    )
    reasons = digest(Domain.REASONS, b"example")
    votes = (
        builder.vote(1, block),
        builder.vote(2, block, Verdict.UNKNOWN),
        builder.vote(3, block, Verdict.INVALID, reasons),
    )
    chain.append(builder.poet(block, annotations, "conflict", votes))
    return chain, kinds


def verdict_batch(chain: Chain) -> VerdictBatch:
    """Slot 2's verdicts on three blocks."""
    builder = chain.builder
    entries = (
        Entry(chain.blocks[3].id, Verdict.VALID),
        Entry(chain.blocks[4].id, Verdict.INVALID, digest(Domain.REASONS, b"example")),
        Entry(sha256(b"a block nobody knows"), Verdict.UNKNOWN),
    )
    root = merkle.root([entry.leaf() for entry in entries])
    header = BatchHeader(builder.chain, builder.epoch.epoch, 2, 99, builder.head, builder.height, len(entries), root)
    return VerdictBatch(header, builder.nodes[2].sign(Domain.VERDICT_BATCH, header.encode()), entries)


def receipt(chain: Chain) -> Receipt:
    """Of the task in the quorum block."""
    epochs = tuple(chain.proven(height, 0) for height in (0, 1, 2))
    return Receipt(chain.builder.chain, chain.checkpoint().text(), chain.proven(3, 2), epochs)


def files() -> dict[str, bytes]:
    """Every vector by file name."""
    chain, kinds = build_chain()
    made: dict[str, bytes] = {}
    for kind, transaction in kinds.items():
        made[f"transaction-{kind}.json"] = _vector(transaction.encode(), id=digest_text(transaction.id))
    for name, height in (("genesis", 0), ("quorum", 3), ("poet", 4)):
        block = chain.blocks[height]
        made[f"block-{name}.bin"] = block.encode()
        made[f"block-{name}.json"] = _vector(
            block.header_bytes,
            id=digest_text(block.id),
            signature=block.signature.hex(),
            leaves=[leaf.hex() for leaf in block.leaves],
        )
    for name, height in (("epoch", 0), ("quorum", 3), ("poet", 4)):
        link = chain.links[height]
        made[f"link-{name}.json"] = _vector(link.encode(), hash=digest_text(link.hash))
    made |= _certificates(chain)
    batch = verdict_batch(chain)
    made["verdict-batch.json"] = _vector(
        batch.encode(), signed=tagged(Domain.VERDICT_BATCH, batch.header.encode()).hex(), vote_1=batch.vote(1).value()
    )
    note = chain.checkpoint()
    made["checkpoint.json"] = _json(
        {
            "text": note.text(),
            "storage_key": public_key_text(chain.builder.storage.public.raw),
            "slot_keys": {str(slot): public_key_text(key.public.raw) for slot, key in chain.builder.nodes.items()},
            "signatures": [
                {"name": line.name, "key_id": line.key_id.hex(), "payload": line.payload.hex()}
                for line in note.signatures
            ],
        }
    )
    proof = receipt(chain)
    made["receipt.json"] = _vector(proof.encode(), chain=digest_text(proof.chain))
    made["uris.json"] = _json(_uris())
    made["puzzle.json"] = _json(_puzzle(chain.blocks[3]))
    made["difficulty.json"] = _json(_difficulties())
    made["keys.json"] = _json(_keys(chain.builder))
    return made


def _certificates(chain: Chain) -> dict[str, bytes]:
    made = {}
    for name, height in (("quorum", 3), ("poet", 4)):
        data = chain.certificates[height]
        assert data is not None
        more: dict[str, object] = {"digest": digest_text(certificate.certificate_digest(data))}
        parsed = certificate.decode(data)
        assert isinstance(parsed, PoetCertificate if name == "poet" else QuorumCertificate)
        if isinstance(parsed, PoetCertificate):
            more["signed"] = tagged(Domain.STORAGE, parsed.statement()).hex()
        made[f"certificate-{name}.json"] = _vector(data, **more)
    return made


def _uris() -> dict[str, object]:
    names = [b"a/b.txt", b"a b/%/\xff\xfe", "größe/日本".encode(), b"~._-/...", b"\n\r\t\"'\\"]
    root = uri.root_id("", b"/srv/data/project")
    return {
        "roots": [["", "/srv/data/project", root], ["node-1", "/tmp/x", uri.root_id("node-1", b"/tmp/x")]],
        "work": [[ROOT_ID, name.hex(), uri.work_uri(ROOT_ID, name)] for name in names],
        "file": [[host, name.hex(), uri.file_uri(b"/" + name, host)] for name in names for host in ("", "node-1")],
        "value": [["0" * 32, "task 1", 3, uri.value_uri("0" * 32, "task 1", 3)]],
    }


def _puzzle(block: Block) -> list[dict[str, object]]:
    solver = block.header.proposer
    return [
        {
            "block": block.id.hex(),
            "solver": solver.hex(),
            "difficulty": difficulty,
            "nonce": puzzle.solve(block.id, solver, difficulty),
        }
        for difficulty in range(4)
    ]


def _difficulties() -> list[dict[str, object]]:
    """What a block on a parent has to say, given the times of two links: around each bound and each step."""
    rule = Difficulty("adaptive", 2, 100, 500_000)
    found = []
    for slots, mining, parent_height, took_us in (
        *((1, "own", height, 32_000_000) for height in (0, 31, 32, 63, 64, 1_000)),
        *((1, "own", 32, took_us) for took_us in (-1, 0, 1_600_000, 2_621_439, 2_621_440, 41_943_040, 10**15)),
        *((slots, mining, 32, 3_200_000) for slots in (1, 4, 20, 1_024) for mining in ("own", "race")),
    ):
        times = {height: START_US + number * took_us for number, height in enumerate(anchors(parent_height) or ())}
        found.append(
            {
                "setting": rule.as_value(),
                "mining": mining,
                "slots": slots,
                "parent_height": parent_height,
                "times_us": {str(height): time_us for height, time_us in times.items()},
                "difficulty": expected(rule, mining, slots, parent_height, times.__getitem__),
            }
        )
    return found


def _keys(builder: ChainBuilder) -> list[dict[str, str]]:
    keys = [builder.authority, builder.storage, *builder.nodes.values()]
    return [
        {"seed": key.seed.hex(), "public": public_key_text(key.public.raw), "fingerprint": key.public.fingerprint.hex()}
        for key in keys
    ]


def _vector(data: bytes, **more: object) -> bytes:
    return _json({"record": data.decode(), **more})


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode()

"""Hashing, signatures and Merkle trees: the only cryptography of scichain-wf.

Import the module you need; this package imports none of them, because the hook path must not pay for `signing`:

* `hashing`: SHA-256, and SHA-256 with a domain in front, so that no hash of one kind of record is one of
  another. Standard library only.
* `merkle`: RFC 6962 trees: roots, an append-only accumulator, inclusion and consistency proofs. Standard
  library only.
* `puzzle`: the proposer's proof of work (SciChain §3.3). Standard library only.
* `signing`: Ed25519 keys whose signatures are over a domain as well. The only module that imports
  `cryptography`.

Invariants: everything here is a function of its arguments. No clock, no randomness, no files, no threads; a key
is made from a seed that the caller brings (`scichain_wf.keystore` draws and stores it). A digest is 32 raw bytes;
its spelling `sha256:<hex>` belongs to the model.

What is wrong with bytes from outside is a `DecodeError` (a key) or a `VerificationError` (a signature, a
proof); what is wrong with a call is a `UsageError`.
"""

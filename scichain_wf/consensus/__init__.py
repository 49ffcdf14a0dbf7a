"""POST as pure functions and state machines: no I/O, no clock, no randomness (SciChain §3).

Validate, then order: every node gets its own blocks certified in parallel, the shared storage orders them. So there
is no leader to elect, and a node's restart never blocks another. Two machines, driven by `step(event, now)`:

- `agent.Agent`: one per node. `drafting` packs transactions into blocks, `author` sees them through, `proposer` has the
  states of one; `validator` judges the blocks of others, `replica` applies the links that storage sends,
  `dissemination` says whom a proposal is passed on to, `evidence` reports who signs two things, `racing` helps with
  the puzzles of others.
- `storage.Storage`: the storage node. It checks certificates, judges once more against the whole chain, orders.

`events` go in, `effects` come out; `messages` is what travels between the two. Pure rules stand apart: `membership`
(who may judge), `roster` (who signed a block), `validity` (may it be true), `certify` (did enough say so).
"""

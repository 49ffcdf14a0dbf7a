"""Stores: the authoritative chain on shared storage, and what belongs around it.

Read in this order: `layout` (which file is where), `keys` (named databases and how their keys are spelled), `engine`
(the only contact with LMDB: opening, checks before opening, what an error means), `prepared` (a block parsed once),
`view` (reading), `batch` (one group commit), `store` (the single writer).

One process writes. Readers in that process share the `ChainStore`; other processes on the *same* host may open it
read-only; other hosts never open a live file (LMDB's memory map is not coherent across hosts): they ask the storage
node, or read a snapshot.
"""

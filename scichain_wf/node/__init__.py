"""The processes: agents and the storage node around the pure core of `consensus`.

`main` (entry, role by the first line on standard input), `storage_node` (the single writer), `agent` (one per node).
Around them: `process` (what every process does first), `log`, `wire` (what they say besides the protocol), `chain`
(a chain directory), `shm` (directories on tmpfs), `intake` (outboxes and spool), `commits` (decide, append, fsync),
`children` (agents as child processes), `lookups` (ledgers as the core sees them), `summary`.

The core decides, these modules do: every one of them reads a clock, a socket or a file, none of them a rule.
"""

"""Engine-neutral capture: what a task read and wrote, as transactions handed to the agent of this host.

- `naming`: the one URI of a path, by registered workflow roots and mount types.
- `artifacts`: what is at a path: state, digest, size, time, and whether it changed while it was read.
- `digests`: how much of a file is read, and which digests need not be computed again.
- `values`: what a workflow chose freely (parameters, commands) as bounded, redacted record values.
- `redaction`: what is taken for a secret.
- `records`: bodies of `run-start`, `intent`, `task` and `run-end`.
- `recorder`: a transaction into the outbox, else into the spool; collects what went wrong, raises nothing.
- `session`: one run with the embedded service: start, flush, closing line; `join`: taking part in somebody else's.
- `runs`, `tasks`: the public `scichain_wf.run` and `scichain_wf.task`; `environment`: what surrounds a task.
- `saying`: a line for the person at the terminal.

A hook never raises into a workflow unless `strict` is on (HOOK-1). Import budget: standard library and orjson.
"""

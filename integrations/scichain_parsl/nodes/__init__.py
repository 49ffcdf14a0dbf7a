"""`NodeExecutor`: Parsl tasks on nodes that keep the chain together. Without ZeroMQ.

    main process                              each node of a block
    executor ── hub (a thread) ── TLS 1.3 ── runner (`main`)
                                              ├─ nursery ─ forks ─ workers: one task at a time, no key, no network
                                              └─ `scichain-wf node`: the agent, a program of its own

- `executor`: what Parsl sees.
- `hub`: in the main process: who is there, which task goes where, what became of it.
- `messages`: what goes over the channel between hub and runner.
- `main`, `runner`: one node: connects to the hub, hands tasks to workers and results back.
- `nursery`, `worker`: forks workers; runs tasks.
- `agent`: the agent that belongs to a node, and the slot it fills; also for `AgentLauncher`.
- `launcher`, `beside`: `AgentLauncher`: the same agent beside the nodes of another executor.
- `place`: where they listen for each other.
"""

"""A deterministic simulator: the same step functions under a seeded event heap (30-post, Simulator).

`world.World(config).run()` is all there is to it. What is real here is `consensus`, every record and every rule; what
is simulated is what surrounds them: `network`, `disk`, `ledgers`, clocks, keys, and the processes' shells (`agents`,
`storages`), which do what `node`'s do without sockets. Observers (`observe`) are told of everything that happens.
One seed gives one run, whatever machine it runs on.
"""

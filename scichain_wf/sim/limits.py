"""Every bound of the simulator; those of the system itself are in `scichain_wf.limits`."""

from __future__ import annotations

from typing import Final

from scichain_wf.limits import SILENCE_S_MAX

SIM_SECONDS_MAX: Final = 1_000_000.0
"""Virtual time of a simulated load, of its drain, or when a fault is over: eleven days."""
SIM_RATE_MAX: Final = 1_000_000.0
"""Tasks per virtual second."""
SIM_TASKS_MAX: Final = 10_000_000
"""Tasks of one run, as many as are expected. Each is kept: these need some ten gigabytes."""
SIM_SEEDS_MAX: Final = 1_000_000
"""Runs of one command."""
SIM_DELAY_US_MAX: Final = 10_000_000.0
"""No message takes longer one way; a longer delay that is drawn is cut. One as long as SILENCE_S_MAX is no delay."""
SIM_SIGMA_MAX: Final = 10.0
"""Of a lognormal delay: one in six is then 22,000 times the median or more."""
SIM_SKEW_MIN: Final = 0.01
SIM_SKEW_MAX: Final = 100.0
"""How fast a skewed clock runs. Broken clocks of real machines are off by parts in a thousand."""
SIM_SYNC_S_MAX: Final = 10.0
"""A group commit of a slow disk; one that hangs longer is a crash of the storage node."""
SIM_EFFECTS_MAX: Final = 1_000_000
"""Effects after which a process ends between two of them."""
SIM_SETTLE_S: Final = 30.0
"""After the load and all faults, a quorum suffices from then on: whoever waited for a producer (10 s), then for votes
(10 s), then for the next attempt (5 s) is done, and so is the slowest disk's last commit."""
SIM_HOPS: Final = 8
"""Delays in a row, of which all must fit into a wait for votes, or no quorum can be in time: the link a proposal builds
on, the proposal and the verdicts, the first two down a tree where there are many nodes."""
SIM_REST_S: Final = 1_000.0
"""A run that ended before everything was committed is watched for so long; if nothing more is, a promise broke."""

if not (SIM_DELAY_US_MAX < 1e6 * SILENCE_S_MAX and SIM_SYNC_S_MAX < SIM_SETTLE_S < SIM_REST_S < SIM_SECONDS_MAX):
    raise AssertionError("sim/limits.py contradicts itself")  # not `assert`: this must survive -O

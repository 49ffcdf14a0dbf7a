"""A cluster on one machine: nodes in namespaces of their own on a network that can be broken.

    with Bed(tmp_path, nodes=3) as bed:
        one, two, three = bed.nodes
        one.run(["hostname"]).stdout            # "n1\n"
        bed.partition([three])                  # packets to and from n3 are lost
        two.kill()                              # SIGKILL to all its processes; its /dev/shm stays
        two.power_off()                         # and now that is gone, too
        two.boot()

A node has its own process ids, network, hostname, System V IPC, mounts, `/dev/shm`, `/run` and `/tmp`; `bed.shared`
is one directory for all. Nothing outside these namespaces is touched, and nothing of them outlives the process that
made them: each begins with a process that ends when its standard input does.

Needs root on Linux and Debian's iproute2, nftables and util-linux; bindfs for `pfs`, slurm-wlm and munge for `Slurm`.
The marks in `needs` skip tests with the reason where something is missing.
"""

from tests.testbed.bed import Bed as Bed
from tests.testbed.node import Node as Node
from tests.testbed.node import Process as Process
from tests.testbed.slurm import Slurm as Slurm

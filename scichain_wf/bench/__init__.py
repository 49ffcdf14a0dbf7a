"""Measurements that anybody can repeat: one module per benchmark, each with `Options` and `run(options) -> Result`.

A benchmark uses the real parts (processes, sockets, files), takes seconds with its default options and leaves nothing
behind when it is interrupted.
"""

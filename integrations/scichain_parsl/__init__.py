"""Provenance for Parsl: `@traced` above an app's decorator, and a configuration that records.

    import parsl
    from parsl import bash_app
    from scichain_parsl import scichain_config, traced

    @traced
    @bash_app
    def align(reads, inputs=(), outputs=()):
        return f"bwa mem {inputs[0]} {reads} > {outputs[0]}"

    with parsl.load(scichain_config(executors=[...])):
        align("reads.fq", inputs=[File("ref.fa")], outputs=[File("out.sam")]).result()

What a traced app reads, writes and returns is digested where it runs, and recorded there. Nothing that goes wrong with
recording changes a result, unless `strict` asks for it.

- `decorator`: `traced`.
- `wrapper`: the function that takes the place of an app's own; copied to workers by value, so it holds nothing.
- `shim`: what that function does on a worker: look at inputs, run, look at outputs, record.
- `arguments`: which files and values a call has.
- `memoizer`: what the main process sees of each try: gives it its context, records what never reaches a worker.
- `memos`: whose result a memo hit returns.
- `configuration`: `scichain_config`.
- `versions`: which Parsl this was tested with.
- `nodes`: `NodeExecutor`: an executor without ZeroMQ whose nodes keep the chain; `AgentLauncher` for others.
"""

from scichain_parsl.versions import advice, warn_of_newer

warn_of_newer()
try:
    from scichain_parsl.configuration import scichain_config
    from scichain_parsl.decorator import traced
    from scichain_parsl.memoizer import ProvenanceMemoizer
    from scichain_parsl.nodes.executor import NodeExecutor
    from scichain_parsl.nodes.launcher import AgentLauncher
except ImportError as error:
    raise ImportError(advice(error), name=error.name, path=error.path) from error

__all__ = ["AgentLauncher", "NodeExecutor", "ProvenanceMemoizer", "scichain_config", "traced"]

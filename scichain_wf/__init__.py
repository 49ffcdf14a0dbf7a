"""scichain-wf: provenance for Snakemake and Parsl workflows that can be proved.

Importing this package imports nothing else: hooks live in processes that have other things to do. `task` and `run`
record any Python program (`hooks.runs` and `hooks.tasks`, imported when one of them is first used).
"""

TYPE_CHECKING = False  # as type checkers know it: `typing` costs more than everything else here

if TYPE_CHECKING:
    from scichain_wf.hooks.runs import Run as run  # noqa: N813 - `with scichain_wf.run():` reads as what it does
    from scichain_wf.hooks.tasks import task

__version__ = "0.1.0"
__all__ = ["__version__", "run", "task"]


def __getattr__(name: str) -> object:
    """`task` and `run`, once they are needed."""
    if name not in ("run", "task"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scichain_wf.hooks import runs, tasks

    return runs.Run if name == "run" else tasks.task

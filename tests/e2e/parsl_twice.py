"""Two runs of one program under three executors, with staging and a checkpoint, the first one monitored.

`python parsl_twice.py` prints what the tasks of each run came to.
"""

from __future__ import annotations

import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import parsl
from parsl import File, bash_app, python_app
from parsl.config import Config
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.http import HTTPInTaskStaging
from parsl.dataflow.memoization import BasicMemoizer, id_for_memo
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.monitoring import MonitoringHub
from parsl.providers import LocalProvider

from scichain_parsl import NodeExecutor, scichain_config, traced

LABELS = ("threads", "htex", "nodes")


class Quiet(SimpleHTTPRequestHandler):
    """Serves the current directory."""

    def log_message(self, *_: object) -> None:
        """Standard error is for the program's own words."""


@id_for_memo.register(File)  # Parsl leaves it to its users what makes two files equal
def _(file: File, output_ref: bool = False) -> bytes:
    return str(file.url).encode()


def size(label: str, inputs: Any = ()) -> int:
    from pathlib import Path

    return Path(inputs[0].filepath).stat().st_size


def copy(label: str, inputs: Any = (), outputs: Any = ()) -> str:
    return f"cp {inputs[0].filepath} {outputs[0].filepath}"


def configuration(monitored: bool) -> Config:
    """One of each executor: for threads Parsl fetches files in a task of their own, in the others the reader does."""
    staged: dict[str, Any] = {"working_dir": str(Path.cwd() / "staged")}
    one: Any = lambda: LocalProvider(init_blocks=1, max_blocks=1)  # type: ignore[no-untyped-call] # noqa: E731
    in_task = staged | {"storage_access": [NoOpFileStaging(), HTTPInTaskStaging()]}
    local: dict[str, Any] = {"address": "127.0.0.1", "encrypted": False, "max_workers_per_node": 1}
    executors = [
        ThreadPoolExecutor(label="threads", max_threads=1, **staged),
        HighThroughputExecutor(label="htex", provider=one(), **local, **in_task),
        NodeExecutor("nodes", one(), workers_per_node=1, **in_task),
    ]
    return scichain_config(
        executors=executors,
        memoizer=BasicMemoizer(checkpoint_mode="task_exit"),
        monitoring=MonitoringHub(resource_monitoring_interval=0) if monitored else None,
        strategy_period=0.2,
        usage_tracking=0,
    )


def run(url: str, monitored: bool) -> dict[str, Any]:
    """What each task came to, by executor."""
    given = Path.cwd() / "given.txt"
    futures = {}
    with parsl.load(configuration(monitored)):
        for label in LABELS:
            apps: dict[str, Any] = {"executors": [label], "cache": True}
            fetched = traced(python_app(size, **apps))(label, inputs=[File(f"{url}/given.txt")])
            copied = traced(bash_app(copy, **apps))(
                label, inputs=[File(f"file://{given}")], outputs=[File(f"file://{given}.{label}")]
            )
            again = traced(python_app(size, **apps))(label, inputs=[copied.outputs[0]])
            futures[label] = [fetched, copied, again]
        return {label: [future.result() for future in ones] for label, ones in futures.items()}


def main() -> None:
    """Both runs, and what is served meanwhile."""
    Path("given.txt").write_text("given", encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        print(json.dumps({"url": url, "first": run(url, monitored=True), "second": run(url, monitored=False)}))
        server.shutdown()


if __name__ == "__main__":
    main()

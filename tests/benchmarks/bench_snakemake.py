"""What recording costs a Snakemake run, in alternating runs of one workflow.

    python -m tests.benchmarks.bench_snakemake
    python -m tests.benchmarks.bench_snakemake --rounds 7 --large --output docs/benchmarks/snakemake.json

    absent      Snakemake without our plugins
    inactive    with them installed and not chosen
    scichain    `--logger scichain`, embedded default; it ends when everything is on the chain
    snkmt       `--logger snkmt` (PyPI), which writes job states to SQLite

A round runs each of them once, in an order that turns from round to round; what is compared are the runs of one round.
*CPU* is that of Snakemake's own process with its threads, in which the hooks run; the embedded service's is told
separately: what the children of `scichain` took more than those of `inactive` of the same round. The targets
(50-snakemake) are 3 ms of CPU per job, 2 % of the wall time of 200 jobs of 100 ms, 30 ms for a plugin that is not
chosen. Wall time says little where other work runs on the machine; the load is in the result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from scichain_wf.bench.result import Figure, Result, Target

_START: Final = """
import atexit, os, pkgutil, resource, sys
hidden, usage = sys.argv[1:3]
every = pkgutil.iter_modules
pkgutil.iter_modules = lambda *a, **k: (m for m in every(*a, **k) if not m.name.endswith(hidden))
def tell():
    own = resource.getrusage(resource.RUSAGE_SELF)
    with open(usage, "w") as file:
        print(own.ru_utime + own.ru_stime, own.ru_maxrss, file=file)
atexit.register(tell)
sys.argv = ["snakemake", *sys.argv[3:]]
from snakemake.cli import main
main()
"""
_NOTHING: Final = "_no_such_plugin"
_MODES: Final = {
    "absent": ("_plugin_scichain", ()),
    "inactive": (_NOTHING, ()),
    "scichain": (_NOTHING, ("--logger", "scichain")),
    "snkmt": (_NOTHING, ("--logger", "snkmt")),
}
"""By name: modules hidden from Snakemake, and arguments."""
MANY: Final = """
rule all:
    input: expand("out/{{n}}", n=range({jobs}))

rule one:
    input: "in.txt"
    output: "out/{{n}}"
    shell: "{command}"
"""
TRIVIAL: Final = "echo {wildcards.n} > {output}"
FOLDER: Final = """
rule folder:
    output: directory("folder")
    shell: "mkdir {output} && cd {output} && seq 10000 | split -l 1 -a 4 -"
"""
BIG: Final = """
rule big:
    output: "big"
    shell: "truncate -s 10G {output}"
"""
LARGE: Final = {
    "bytes": ("10 GB", BIG),
    "files": ("10,000 files", FOLDER),
    "jobs": ("2,000 jobs", MANY.format(jobs=2_000, command=TRIVIAL)),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds and bytes."""

    wall_s: float
    own_cpu_s: float
    children_cpu_s: float
    memory_bytes: int


def run(mode: str, snakefile: str, cores: int) -> Sample:
    """Run a workflow in a new directory."""
    hidden, arguments = _MODES[mode]
    with tempfile.TemporaryDirectory(prefix="sc-bench-") as base:
        work = Path(base, "work")
        work.mkdir()
        (work / "Snakefile").write_text(snakefile)
        (work / "in.txt").write_text("x\n")
        usage = Path(base, "usage")
        home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), base)
        command = [sys.executable, "-c", _START, hidden, str(usage), f"-c{cores}", "--quiet", "all", *arguments]
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=work, env=os.environ | home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 or ("scichain:" in said and "check with" not in said):
            raise RuntimeError(f"{mode}: {said}")
        own, memory = usage.read_text().split()
        return Sample(wall_s, float(own), used.ru_utime + used.ru_stime - float(own), int(memory) << 10)


def rounds(snakefile: str, modes: list[str], number: int, cores: int) -> dict[str, list[Sample]]:
    """Samples by mode; those of one index are of one round."""
    found: dict[str, list[Sample]] = {mode: [] for mode in modes}
    for turn in range(number):
        for mode in modes[turn % len(modes) :] + modes[: turn % len(modes)]:
            found[mode].append(run(mode, snakefile, cores))
        latest = [f"{mode} {all_[-1].wall_s:.2f} s, CPU {all_[-1].own_cpu_s:.2f} s" for mode, all_ in found.items()]
        print(f"  round {turn + 1}: {'; '.join(latest)}", file=sys.stderr, flush=True)
    return found


def figures(name: str, found: dict[str, list[Sample]], jobs: int) -> list[Figure]:
    """CPU per job and wall time over `inactive`, what the service took, and what being installed costs."""
    base, made = found["inactive"], []
    for mode in ("scichain", "snkmt"):
        if mode not in found:
            continue
        pairs = list(zip(found[mode], base, strict=True))
        cpu = [1e3 * (one.own_cpu_s - other.own_cpu_s) / jobs for one, other in pairs]
        wall = [100 * (one.wall_s / other.wall_s - 1) for one, other in pairs]
        ours, slow = mode == "scichain", "100 ms" in name
        made.append(Figure(f"{name}: {mode}, CPU per job", "ms", cpu, (Target(3),) if ours else ()))
        made.append(Figure(f"{name}: {mode}, wall time", "%", wall, (Target(2),) if ours and slow else ()))
        if ours:
            service = [1e3 * (one.children_cpu_s - other.children_cpu_s) / jobs for one, other in pairs]
            made.append(Figure(f"{name}: service, CPU per job", "ms", service))
            made.append(Figure(f"{name}: scichain, wall time more", "s", [a.wall_s - b.wall_s for a, b in pairs]))
    made.append(Figure(f"{name}: without us, wall time", "s", [sample.wall_s for sample in base]))
    if "absent" in found:
        inactive = [1e3 * (one.own_cpu_s - other.own_cpu_s) for one, other in zip(base, found["absent"], strict=True)]
        made.append(Figure(f"{name}: installed and not chosen, CPU of the run", "ms", inactive, (Target(30),)))
    return made


def large(which: list[str], cores: int) -> list[Figure]:
    """Once each: many jobs, a directory of many files, a big file."""
    made = []
    for name, snakefile in (LARGE[one] for one in which):
        plain, ours = (run(mode, snakefile, cores) for mode in ("inactive", "scichain"))
        print(f"  {name}: {plain} {ours}", file=sys.stderr, flush=True)
        made += [
            Figure(f"{name}: scichain, wall time more", "s", [ours.wall_s - plain.wall_s]),
            Figure(f"{name}: scichain, CPU more", "s", [ours.own_cpu_s - plain.own_cpu_s]),
            Figure(f"{name}: service, CPU", "s", [ours.children_cpu_s - plain.children_cpu_s]),
            Figure(f"{name}: scichain, memory more", "MiB", [(ours.memory_bytes - plain.memory_bytes) / 2**20]),
        ]
    return made


def main() -> int:
    """Measure, print, keep the samples if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="0: only what `--large` adds")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--large", nargs="*", choices=LARGE, help="10 GB, 10,000 files, 2,000 jobs as well, or some")
    parser.add_argument("--output", type=Path, help="where to put all samples, as JSON")
    options = parser.parse_args()
    modes = [mode for mode in _MODES if mode != "snkmt" or find_spec("snakemake_logger_plugin_snkmt") is not None]
    made = []
    for name, command in (("trivial", TRIVIAL), ("100 ms", f"sleep 0.1; {TRIVIAL}")) if options.rounds else ():
        print(f"{options.jobs} jobs, {name}:", file=sys.stderr)
        found = rounds(MANY.format(jobs=options.jobs, command=command), modes, options.rounds, options.cores)
        made += figures(name, found, options.jobs)
    if options.large is not None:
        made += large(options.large or list(LARGE), options.cores)
    asked = {"jobs": options.jobs, "rounds": options.rounds, "cores": options.cores}
    result = Result("snakemake", asked, tuple(made), ("pairs of one round; jobs of 100 ms sleep",))
    for figure in result.figures:
        met = "".join(f"  ({'met' if figure.met(target) else 'MISSED'}: {target.bound})" for target in figure.targets)
        print(f"{figure.name:45} {statistics.median(figure.samples):9.2f} {figure.unit}{met}")
    if options.output is not None:
        options.output.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

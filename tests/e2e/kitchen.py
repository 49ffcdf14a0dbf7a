"""A workflow with every kind of job that Snakemake has, small enough for each test run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.workflows import Project

SNAKEFILE = r'''
import os

rule all:
    input: "made/report", "made/shadowed", "made/kept", "made/updated", "made/linked", "made/flag",
           "made/noted", "made/wrapped", "made/sunk", "made/asked", "made/grouped", "made/many", "made/huge",
           "made/cached", "made/bare", "made/odd", "made/ünï code"

rule logged:
    input: reads="data/in.txt"
    output: "made/{part}.part"
    params: n=3, rate=0.5, api_token="s3cr3t"
    log: "logs/{part}.log"
    benchmark: "bench/{part}.tsv"
    threads: 2
    shell: "echo found >> {log}; grep {wildcards.part} {input} > {output}"

rule count:
    input: "made/{part}.part"
    output: temp("made/{part}.count")
    run:
        with open(output[0], "w") as f:
            f.write(str(len(open(input[0]).read())))

rule report:
    input: counts=expand("made/{part}.count", part=["a"])
    output: "made/report"
    script: "report.py"

rule noted:
    input: "data/in.txt"
    output: "made/noted"
    notebook: "note.ipynb"

rule wrapped:
    input: "data/in.txt"
    output: "made/wrapped"
    wrapper: WRAPPER

rule folder:
    output: directory("made/folder")
    shell: "mkdir {output} && echo hi > {output}/x && ln -s x {output}/y"

rule flag:
    input: "made/folder"
    output: touch("made/flag")

def parts(wildcards):
    folder = checkpoints.scatter.get().output[0]
    return [f"made/done/{name}" for name in sorted(os.listdir(folder)) if not name.startswith(".")]

checkpoint scatter:
    output: directory("made/parts")
    shell: "mkdir {output}; for i in 1 2; do echo $i > {output}/$i; done"

rule work:
    input: "made/parts/{i}"
    output: "made/done/{i}"
    retries: 2
    shell: "if [ {wildcards.i} = 1 -a ! -e tried ]; then touch tried; echo half > {output}; exit 3; fi; "
           "cp {input} {output}"

rule linked:
    input: parts
    output: "made/linked"
    shell: "ln -s done/1 {output}"

rule shadowed:
    output: "made/shadowed"
    log: "logs/shadowed.log"
    shadow: "minimal"
    shell: "touch junk; echo s > {output}; echo l > {log}"

rule kept:
    output: protected(ensure("made/kept", non_empty=True))
    shell: "echo k > {output}"

rule updated:
    input: "data/in.txt"
    output: update("made/updated")
    shell: "echo more >> {output}"

rule source:
    output: pipe("made/stream")
    shell: "seq 5 > {output}"

rule sink:
    input: "made/stream"
    output: "made/sunk"
    shell: "wc -l < {input} > {output}"

rule server:
    output: service("made/socket")
    shell: "echo up > {output}; sleep 600"

rule asked:
    input: "made/socket"
    output: "made/asked"
    shell: "cat {input} > {output}"

rule first:
    output: "made/grouped1"
    group: "pair"
    shell: "echo 1 > {output}"

rule second:
    input: "made/grouped1"
    output: "made/grouped"
    group: "pair"
    shell: "cp {input} {output}"

rule many:
    output: directory("made/many")
    shell: "mkdir {output} && cd {output} && seq " + str(FILES) + " | split -l 1 -a 4"

rule huge:
    output: "made/huge"
    shell: "truncate -s 10G {output}"

rule cached:
    output: "made/cached"
    cache: "omit-software"
    shell: "echo c > {output}"

rule bare:
    input: data="data/in.txt", edited="data/edited"
    output: "made/bare"
    shell: "echo mine >> {input.edited}; echo b > {output}"

rule named:
    input: "data/with space"
    output: "made/ünï code"
    shell: "cp {input:q} {output:q}"

rule odd:  # Snakemake itself refuses a path of its own that is not UTF-8
    output: directory("made/odd")
    shell: r"mkdir {output} && echo o > {output}/$(printf 'caf\351')"
'''

REPORT = 'open(snakemake.output[0], "w").write("".join(open(f).read() for f in snakemake.input.counts))\n'
NOTE = 'with open(snakemake.output[0], "w") as f:\n    f.write("noted")\n'


def kitchen(directory: Path, files: int) -> Project:
    """The project; `files` are made in one directory."""
    wrapper = f"file://{directory}/wrapper"
    project = Project(directory, f"WRAPPER = {wrapper!r}\nFILES = {files}\n{SNAKEFILE}")
    project.write("data/in.txt", "a\nb\nab\n")
    project.write("data/with space", "x\n")
    project.write("data/edited", "x\n")
    project.write("report.py", REPORT)
    project.write("wrapper/wrapper.py", 'open(snakemake.output[0], "w").write("wrapped")\n')
    project.write("wrapper/environment.yaml", "channels: [conda-forge]\ndependencies: [python]\n")
    cell: dict[str, object]
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": NOTE}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    project.write("note.ipynb", json.dumps({"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return project

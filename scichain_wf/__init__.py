"""scichain-wf: provenance for Snakemake and Parsl workflows that can be proved.

Importing this package imports nothing else: hooks live in processes that have other things to do.
"""

__version__ = "0.1.0"

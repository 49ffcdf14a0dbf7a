"""Chains made in memory from seeds: the benchmarks' builder, under the name that tests know it by."""

from scichain_wf.bench.builder import ROOT_ID, START_US, Candidate, ChainBuilder, signing_key

__all__ = ["ROOT_ID", "START_US", "Candidate", "ChainBuilder", "signing_key"]

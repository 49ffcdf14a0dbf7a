"""Of every finding, the test that raises it and the one that almost does. `test_every_finding` holds this complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _ids(table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(f"SC-{number}" for number in text.split()) for name, text in table.items()}


RAISED: Final = _ids({
    "audit/test_altered.py::test_a_record_that_was_altered_is_not_proved": "CHAIN-010 CHAIN-111",
    "audit/test_altered.py::test_a_tree_that_was_altered_fails_a_run": "CHAIN-096",
    "audit/test_altered.py::test_an_index_that_leads_nowhere_fails_the_file": "CHAIN-020",
    "audit/test_altered.py::test_an_unhashed_file_is_said_to_be": "FILE-013",
    "audit/test_altered.py::test_hosts_and_slots_are_weighed_in_the_trust_statement": "CONF-002 CONF-003",
    "audit/test_chain.py::test_a_certificate_below_the_quorum_is_found": "CHAIN-062",
    "audit/test_chain.py::test_a_block_by_somebody_who_is_no_member_is_found": "CHAIN-053",
    "audit/test_chain.py::test_a_block_whose_signature_is_anothers_is_found": "CHAIN-054",
    "audit/test_chain.py::test_a_block_with_a_parent_from_another_history_is_found": "CHAIN-051",
    "audit/test_chain.py::test_a_chain_rewritten_with_other_keys_is_found_by_trust_root_and_kept_checkpoint":
        "CHAIN-090 CHAIN-100",
    "audit/test_chain.py::test_a_chain_without_checkpoint_is_incomplete": "CHAIN-093",
    "audit/test_chain.py::test_a_checkpoint_signed_by_another_key_is_found": "CHAIN-095 CHAIN-103",
    "audit/test_chain.py::test_a_clash_of_keys_that_is_none_is_found": "CHAIN-043",
    "audit/test_chain.py::test_a_contested_transaction_in_mode_quorum_is_found": "CHAIN-069",
    "audit/test_chain.py::test_a_first_transaction_marked_as_duplicate_is_found": "CHAIN-041",
    "audit/test_chain.py::test_a_fork_is_found_by_a_kept_checkpoint": "CHAIN-101",
    "audit/test_chain.py::test_a_poet_certificate_of_another_key_is_found": "CHAIN-066",
    "audit/test_chain.py::test_a_repeated_transaction_is_found_unless_it_is_marked": "CHAIN-040",
    "audit/test_chain.py::test_a_rolled_back_chain_is_found_by_its_own_and_by_a_kept_checkpoint": "CHAIN-097 CHAIN-102",
    "audit/test_chain.py::test_a_verdict_cited_by_the_storage_node_that_does_not_hold_is_a_warning": "CHAIN-065",
    "audit/test_chain.py::test_a_vote_with_another_slots_signature_is_found": "CHAIN-063",
    "audit/test_chain.py::test_an_input_that_nobody_recorded_must_be_contested": "TRACE-001 TRACE-002",
    "audit/test_chain.py::test_an_unpinned_trust_root_is_said_and_a_pinned_one_is_held": "CONF-001",
    "audit/test_chain.py::test_an_unresolved_input_is_a_warning": "TRACE-004 TRACE-005",
    "audit/test_chain.py::test_an_unsolved_puzzle_and_a_wrong_difficulty_are_found": "CHAIN-057",
    "audit/test_chain.py::test_annotations_that_the_storage_node_did_not_sign_are_found": "CHAIN-067 TRACE-003",
    "audit/test_chain.py::test_clashing_keys_must_be_marked": "CHAIN-042",
    "audit/test_chain.py::test_links_after_the_checkpoint_are_named_as_not_signed_yet": "CHAIN-098",
    "audit/test_chain.py::test_votes_given_on_another_history_are_found": "CHAIN-064",
    "audit/test_chain.py::test_writer_epochs_do_not_go_backwards": "CHAIN-045",
    "audit/test_cosigned.py::test_a_cosignature_in_a_slots_name_by_another_key_is_named": "CHAIN-099",
    "audit/test_difficulty.py::test_a_parent_too_old_for_its_difficulty_is_found": "CHAIN-058",
    "audit/test_difficulty.py::test_another_difficulty_is_found": "CHAIN-056",
    "audit/test_engine.py::test_finding_of_a_run_and_what_almost_is_one":
        "RUN-003 RUN-004 RUN-005 RUN-006 RUN-007 RUN-008 TRACE-006",
    "audit/test_engine.py::test_newer_record_without_content_hides_nothing": "FILE-012",
    "audit/test_engine.py::test_outputs_that_nobody_read_are_a_weakness": "CONF-004",
    "audit/test_engine.py::test_run_without_a_beginning_is_named": "RUN-002",
    "audit/test_engine.py::test_runs_without_an_authors_key_are_counted": "CONF-005",
    "audit/test_epochs.py::test_a_forged_epoch_is_found": "CHAIN-083 CHAIN-084 CHAIN-085",
    "audit/test_epochs.py::test_an_epoch_transaction_in_a_members_block_is_found": "CHAIN-055",
    "audit/test_epochs.py::test_an_older_membership_cannot_come_back": "CHAIN-086",
    "audit/test_every_finding.py::test_of_a_block_that_was_made_for_another_chain": "CHAIN-050",
    "audit/test_every_finding.py::test_of_a_directory_that_runs_place_differently": "FILE-011",
    "audit/test_every_finding.py::test_of_a_file_that_cannot_be_read": "FILE-003 FILE-005",
    "audit/test_every_finding.py::test_of_a_file_that_changes_while_it_is_read": "FILE-009",
    "audit/test_every_finding.py::test_of_a_file_that_was_recorded_as_absent": "FILE-010",
    "audit/test_every_finding.py::test_of_a_file_where_a_pipe_was": "FILE-004",
    "audit/test_every_finding.py::test_of_ledgers": "CHAIN-014 CHAIN-015 CHAIN-034 CHAIN-091 CHAIN-092 CHAIN-094",
    "audit/test_files.py::test_a_file_on_another_host_is_not_looked_for_here": "FILE-006",
    "audit/test_files.py::test_changed_and_missing_files_are_named_with_the_task_that_made_them": "FILE-001 FILE-002",
    "audit/test_files.py::test_files_recorded_without_content_are_one_line": "FILE-007",
    "audit/test_forger.py::test_a_receipt_under_a_storage_key_that_was_retired_before_its_block_is_found":
        "CHAIN-082 CHAIN-110",
    "audit/test_forger.py::test_where_a_workflow_lay_is_proved_like_what_it_made": "FILE-008",
    "audit/test_forgeries.py::test_a_certificate_that_is_no_record_is_found": "CHAIN-060",
    "audit/test_forgeries.py::test_a_forged_block_or_certificate_is_found": "CHAIN-052 CHAIN-061",
    "audit/test_forgeries.py::test_a_poet_certificate_of_another_writer_is_found": "CHAIN-068",
    "audit/test_forgeries.py::test_an_epoch_that_came_without_its_link_mode_is_found": "CHAIN-081",
    "audit/test_forgeries.py::test_records_of_a_newer_version_are_incomplete_not_wrong": "CHAIN-018",
    "audit/test_forks.py::test_a_checkpoint_that_this_chain_does_not_continue_is_named": "CHAIN-104",
    "audit/test_nodes.py::test_dissent_is_counted": "NODE-002",
    "audit/test_nodes.py::test_false_accusation_convicts_nobody_and_is_named": "NODE-004",
    "audit/test_nodes.py::test_node_that_contradicted_itself_is_named": "NODE-001",
    "audit/test_nodes.py::test_share_of_the_storage_nodes_own_verdicts_is_noted": "NODE-003",
    "audit/test_receipt_and_run.py::test_an_end_of_a_run_that_its_author_did_not_sign_is_an_error": "RUN-009",
    "audit/test_receipt_and_run.py::test_an_unknown_run_is_incomplete_and_nonsense_is_a_usage_error": "RUN-001",
    "ledger/test_fsck.py::test_a_changed_chain_id_is_named": "CHAIN-019",
    "ledger/test_fsck.py::test_a_removed_entry_is_named": "CHAIN-002 CHAIN-006 CHAIN-013 CHAIN-016 CHAIN-080",
    "ledger/test_fsck.py::test_a_transaction_of_another_chain_is_named": "CHAIN-012",
    "ledger/test_fsck.py::test_blocks_exchanged_dropped_and_inserted_are_found": "CHAIN-008 CHAIN-044",
    "ledger/test_fsck.py::test_index_entries_removed_altered_and_added_are_named":
        "CHAIN-030 CHAIN-031 CHAIN-032 CHAIN-033",
    "ledger/test_fsck.py::test_links_that_are_no_links_are_named":
        "CHAIN-003 CHAIN-004 CHAIN-007 CHAIN-009 CHAIN-011 CHAIN-017",
    "ledger/test_fsck.py::test_problems_are_named_by_place": "CHAIN-005",
    "ledger/test_fsck.py::test_the_one_height_that_kills_its_reader_is_named": "CHAIN-001",
})  # fmt: skip
"""By test, below tests/unit, what it raises."""

ALMOST: Final = _ids({
    "audit/test_chain.py::test_a_fork_is_found_by_a_kept_checkpoint": "CHAIN-019 CHAIN-100",
    "audit/test_chain.py::test_a_repeated_transaction_is_found_unless_it_is_marked": "CHAIN-041",
    "audit/test_chain.py::test_a_rolled_back_chain_is_found_by_its_own_and_by_a_kept_checkpoint":
        "CHAIN-002 CHAIN-097",
    "audit/test_chain.py::test_an_unpinned_trust_root_is_said_and_a_pinned_one_is_held": "CHAIN-091",
    "audit/test_chain.py::test_any_recorded_version_may_be_read_and_earlier_in_the_block_counts": "TRACE-001",
    "audit/test_chain.py::test_clashing_keys_must_be_marked": "CHAIN-042 CHAIN-043",
    "audit/test_cosigned.py::test_lines_of_other_witnesses_are_nobodys_here": "CHAIN-094 CHAIN-099",
    "audit/test_difficulty.py::test_a_chain_that_follows_its_rule_holds": "CHAIN-056",
    "audit/test_difficulty.py::test_a_parent_too_old_for_its_difficulty_is_found": "CHAIN-058",
    "audit/test_engine.py::test_finding_of_a_run_and_what_almost_is_one":
        "RUN-003 RUN-004 RUN-005 RUN-006 RUN-007 RUN-008 TRACE-006",
    "audit/test_engine.py::test_newer_record_without_content_hides_nothing": "FILE-012",
    "audit/test_engine.py::test_outputs_that_nobody_read_are_a_weakness": "CONF-004",
    "audit/test_engine.py::test_runs_without_an_authors_key_are_counted": "CONF-005",
    "audit/test_every_finding.py::test_of_a_block_that_was_made_for_another_chain": "CHAIN-050",
    "audit/test_every_finding.py::test_of_a_directory_that_runs_place_differently": "FILE-011",
    "audit/test_every_finding.py::test_of_a_file_that_cannot_be_read": "FILE-005",
    "audit/test_every_finding.py::test_of_a_file_that_changes_while_it_is_read": "FILE-009",
    "audit/test_every_finding.py::test_of_a_file_that_was_recorded_as_absent": "FILE-010",
    "audit/test_every_finding.py::test_of_a_file_where_a_pipe_was": "FILE-004",
    "audit/test_every_finding.py::test_of_a_file_with_a_hole_that_nobody_can_read_to_its_end": "FILE-001",
    "audit/test_forger.py::test_an_honest_chain_continues_every_checkpoint_of_it": "CHAIN-098 CHAIN-101 CHAIN-102",
    "audit/test_forger.py::test_where_a_workflow_lay_is_proved_like_what_it_made": "FILE-008",
    "audit/test_forgeries.py::test_in_a_race_another_member_may_solve_and_signs_it": "CHAIN-057",
    "audit/test_forks.py::test_other_notes_say_nothing_of_a_fork": "CHAIN-012 CHAIN-104",
    "audit/test_nodes.py::test_dissent_is_counted": "NODE-002",
    "audit/test_nodes.py::test_false_accusation_convicts_nobody_and_is_named": "NODE-001",
    "audit/test_nodes.py::test_node_that_contradicted_itself_is_named": "NODE-004",
    "audit/test_nodes.py::test_share_of_the_storage_nodes_own_verdicts_is_noted": "NODE-003",
    "audit/test_receipt_and_run.py::test_a_receipt_survives_key_rotations": "CHAIN-110",
    "audit/test_receipt_and_run.py::test_a_receipt_verifies_with_the_trust_root_alone": "CHAIN-090 CONF-001",
    "audit/test_receipt_and_run.py::test_an_end_of_a_run_that_its_author_did_not_sign_is_an_error": "RUN-009",
    "audit/test_receipt_and_run.py::test_what_a_run_lacks_is_named": "RUN-001",
})  # fmt: skip
"""By test, below tests/unit, what it shows that almost raises something."""

NEAR_MISSES: Final = _ids({
    "artifacts_recorded_again_in_every_way": "CHAIN-031 CHAIN-032 CHAIN-034",
    "block_out_of_a_spool": "CHAIN-055",
    "block_whose_transactions_were_all_committed_before": "CHAIN-006 CHAIN-008 CHAIN-030 CHAIN-033 CHAIN-040",
    "blocks_in_another_order_than_they_were_made": "CHAIN-004 CHAIN-005 CHAIN-051",
    "checkpoint_of_a_key_that_was_exchanged_since": "CHAIN-095 CHAIN-096",
    "empty_file_named_with_this_host": "FILE-006 FILE-007",
    "file_below_a_directory_that_is_a_link": "FILE-003",
    "file_of_a_block_beside_an_altered_one": "CHAIN-111",
    "file_that_a_failed_task_left_behind_or_not": "FILE-002",
    "file_with_room_at_its_end": "CHAIN-001 CHAIN-020",
    "files_that_may_be_gone": "FILE-002 FILE-004 FILE-007 FILE-010",
    "full_block_marked_at_its_end": "CHAIN-007 CHAIN-009 CHAIN-010 CHAIN-017 CHAIN-069",
    "genesis_alone": "CHAIN-013 CHAIN-020 CHAIN-093",
    "hashed_file_beside_one_that_is_not": "FILE-013",
    "input_made_just_before_in_the_same_block": "TRACE-004 TRACE-005",
    "members_that_came_again":
        "CHAIN-014 CHAIN-052 CHAIN-053 CHAIN-054 CHAIN-063 CHAIN-080 CHAIN-081 CHAIN-082 CHAIN-084 CHAIN-086",
    "numbers_that_others_have_too": "CHAIN-044 CHAIN-045 CHAIN-068",
    "quorum_just_reached_by_votes_from_behind": "CHAIN-015 CHAIN-060 CHAIN-062 CHAIN-064",
    "record_that_came_again_after_the_end": "RUN-004 RUN-005",
    "records_that_are_as_odd_as_they_may": "CHAIN-003 CHAIN-011 CHAIN-018 CHAIN-067 TRACE-002 TRACE-003",
    "run_whose_beginning_came_late": "RUN-002",
    "storage_key_that_was_exchanged": "CHAIN-066 CHAIN-083 CHAIN-085 CHAIN-090 CHAIN-103 CONF-001",
    "storage_that_judged_though_a_quorum_had": "CHAIN-061 CHAIN-065",
    "tree_of_a_power_of_two": "CHAIN-016 CHAIN-098",
    "trust_root_that_is_a_link_to_where_it_is_kept": "CHAIN-091 CHAIN-092",
    "two_slots_of_which_one_is_elsewhere": "CONF-002 CONF-003",
})  # fmt: skip
"""By case of audit/test_near_misses.py, what it almost raises."""


def near_misses() -> dict[str, tuple[str, ...]]:
    """Both tables of what almost raises something as one, by test."""
    cases = {f"audit/test_near_misses.py::test_what_is_almost[{name}]": ids for name, ids in NEAR_MISSES.items()}
    return {**ALMOST, **cases}

"""Every bound of the system, in one place, with the relations between them asserted at import.

A bound is here so that a reader can see what the program refuses, and so that no module invents its own.
Units are in the names. What crosses a trust boundary (a file, a frame, a record) is held to these *before*
it is parsed.
"""

from __future__ import annotations

from typing import Final

# --- canonical records ------------------------------------------------------------------------------
INTEGER_MAX: Final = 2**53 - 1
"""Largest magnitude of an integer in a record: what every JSON reader keeps exactly (RFC 8785 §3.2.2.3)."""
RECORD_DEPTH_MAX: Final = 16
"""Nesting of arrays and objects in a record."""
KEY_CHARS_MAX: Final = 128
"""Length of an object key, in ASCII characters."""

# --- transactions -----------------------------------------------------------------------------------
TRANSACTION_BYTES_MAX: Final = 1 << 20
"""One transaction in canonical form. A task with thousands of files fits (about 250 bytes each)."""
MISSING_TASKS_MAX: Final = 1_000
"""Tasks without a record that a run's end names."""
ARTIFACTS_PER_TASK_MAX: Final = 4_000
"""Inputs and outputs together. A directory counts as one; more files than this are recorded as a directory."""
EPOCH_TRANSACTION_BYTES_MAX: Final = 7 << 20
"""An `epoch` transaction names every member: about 600 bytes for each of SLOTS_MAX."""
DIRECTORY_MEMBERS_MAX: Final = 1_000
"""Files of one directory that get records of their own, where other tasks are going to read them one by one."""
TEXT_CHARS_MAX: Final = 65_536
"""A command, a message: anything free-form. Longer text is cut by the hook, which says so in the record."""
NAME_CHARS_MAX: Final = 512
"""A rule, an app, a host, a user: anything that names."""
URI_BYTES_MAX: Final = 8_192
"""An artifact URI after escaping: PATH_MAX (4,096) bytes, half of them escaped, with room for the prefix."""
PATH_BYTES_MAX: Final = 4_096
"""Linux's PATH_MAX."""
DIRECTORY_ENTRIES_MAX: Final = 1_000_000
"""Names below a directory that is recorded as one artifact; its listing is kept in memory level by level."""

# --- blocks -----------------------------------------------------------------------------------------
BLOCK_TRANSACTIONS_MIN: Final = 12
"""A proposer waits for this many where they arrive in time (SciChain §4.2)."""
BLOCK_TRANSACTIONS_MAX: Final = 1_024
"""Bounds a proof inside a block: 1,024 leaves are hashed in well under a millisecond."""
BLOCK_BYTES_MAX: Final = 8 << 20
"""Header, signature, solution and transactions together."""
HEADER_BYTES_MAX: Final = 2_048
DIFFICULTY_MAX: Final = 6
"""Leading zero hex digits of the puzzle (SciChain §5.4 measures one to six)."""
RETARGET_LINKS: Final = 32
"""An adaptive difficulty looks at the chain's pace every so many links."""
INTERVAL_US_MIN: Final = 50_000
INTERVAL_US_MAX: Final = 1_000_000
"""It takes one node's block interval to be within these."""
PARENT_AGE_US_MAX: Final = 120_000_000
"""Where the difficulty is adaptive, a block's parent is at most so much older than the newest link: an old parent would
have an old difficulty, perhaps an easier one. Long against any wait for votes; who waited longer drafts anew."""
HASHES_PER_S_MAX: Final = 10**12
"""What an epoch may take one node to search."""

# --- consensus --------------------------------------------------------------------------------------
SLOTS_MAX: Final = 10_000
"""Members of one epoch."""
VERDICTS_PER_BATCH_MAX: Final = 4_096
"""Blocks one validator judges in one tick."""
CERTIFICATE_BYTES_MAX: Final = 16 << 20
"""A quorum certificate of SLOTS_MAX // 2 + 1 votes, each with its Merkle path, in canonical form."""
ANNOTATIONS_PER_LINK_MAX: Final = 4 * BLOCK_TRANSACTIONS_MAX
LINK_BYTES_MAX: Final = 8 << 20
REASONS_PER_ANNOTATION_MAX: Final = 8
"""Reasons spelled out for one mark of a transaction, which has two with reasons at most; the rest is counted."""
REASON_URI_CHARS_MAX: Final = 200
"""A URI inside a reason is cut here: a full block of contested transactions still fits a link."""
CONTESTED_WINDOW: Final = 256
"""Newest transactions of a slot among which storage counts the contested ones."""
CONTESTED_PERMILLE_MAX: Final = 100
"""A slot with more contested ones than this is slowed down, never stopped."""
CONTESTED_PAUSE_S: Final = 1.0
"""What such a slot has to wait between two of its blocks."""
VERIFIED_BATCHES_MAX: Final = 16_384
"""Verdict batches whose signature a storage node remembers to have verified."""
SEQUENCES_REMEMBERED_MAX: Final = 1_024
"""Sequence numbers per proposer whose verdict a validator remembers; lower ones it no longer judges."""
BLOCKS_AHEAD_MAX: Final = 1_024
"""Foreign blocks of an epoch that has not come yet, which a validator keeps until it comes."""
EPOCHS_AHEAD_MAX: Final = 16
"""How many epochs ahead of its own a validator keeps them: a thousand nodes boot in a handful of epochs."""
LINKED_BLOCKS_REMEMBERED_MAX: Final = 8_192
"""Ids of the newest linked blocks a node knows by heart, so that a late proposal of one is not judged again."""
EARLY_LINKS_MAX: Final = 256
"""Links a node keeps that came before the one that precedes them."""
HEADERS_REMEMBERED_MAX: Final = 8_192
"""Signed headers a validator keeps to recognise a second one of the same sequence number."""
EVIDENCE_REMEMBERED_MAX: Final = 1_024
"""Pieces of evidence a node remembers to have reported, and waits to report."""
PUZZLES_MAX: Final = 16
"""Peers' puzzles a node searches at a time, the oldest first; others wait."""
PUZZLES_PER_SLOT_MAX: Final = 4
"""Puzzles of one slot that a node searches or lets wait; more are not helped with."""
PUZZLE_ATTEMPTS_FACTOR: Final = 16
"""A peer's puzzle is given up after so many times the attempts it takes on average; one in nine million is."""
REPROPOSALS_MAX: Final = 8
"""How often a block is certified anew because storage said that votes of its certificate do not hold."""
SUSPEND_S: Final = 30.0
"""Time that passed unseen: a node that slept this long starts its waits for others again."""
IN_FLIGHT_BLOCKS_MAX: Final = 64
"""Blocks of one proposer between proposal and commit."""
IN_FLIGHT_TRANSACTIONS_MAX: Final = 2 * BLOCK_TRANSACTIONS_MAX
"""The same in transactions: what waits longer in its validators' queues than in its own draft gains nothing."""
PIPELINE_BLOCKS: Final = 4
"""With fewer blocks in flight a proposer seals at BLOCK_TRANSACTIONS_MIN; with more it lets blocks grow."""
POOL_TRANSACTIONS_MAX: Final = 8_192
"""Transactions an agent has taken from its outbox and not seen committed; beyond, it lets the outbox wait."""
POOL_BYTES_MAX: Final = 64 << 20
"""The same in bytes."""
REDRAFTS_MAX: Final = 3
"""How often a transaction is drafted anew after its block was rejected."""

# --- proofs, notes and receipts ---------------------------------------------------------------------
PROOF_NODES_MAX: Final = 64
"""Hashes in one inclusion path; a tree of 2**53 leaves needs 53."""
NOTE_BYTES_MAX: Final = 1 << 20
NOTE_SIGNATURES_MAX: Final = 100
"""Signatures kept on a checkpoint (C2SP tlog-checkpoint lets a reader bound them)."""
RECEIPT_BYTES_MAX: Final = 64 << 20

# --- stores -----------------------------------------------------------------------------------------
MAP_BYTES_START: Final = 64 << 20
"""First size of the authoritative map; it grows by doubling."""
MAP_BYTES_STEP_MAX: Final = 16 << 30
"""A map never grows by more than this at once: address space is cheap but not free."""
APPEND_BATCH_BLOCKS_MAX: Final = 1_024
"""Blocks in one group commit."""
APPEND_BATCH_BYTES: Final = 32 << 20
"""A group commit takes no further block beyond this."""
STORAGE_QUEUE_BYTES_MAX: Final = 256 << 20
"""Blocks that wait for a group commit, with votes and certificates; who has filled a slot's equal share comes back."""
STORAGE_SHARE_BYTES_MIN: Final = 256 << 10
"""A slot's share is never less: some twenty blocks of BLOCK_TRANSACTIONS_MIN. An empty one has room for any block."""
TAIL_BYTES_DEFAULT: Final = 64 << 20
"""A ledger tail's map on tmpfs; the node takes less where a quarter of what is free is less."""
TAIL_BYTES_MIN: Final = 1 << 20
FILTER_BITS_PER_KEY: Final = 16
"""Approximate-membership filter: about one false positive in 2,000 URIs."""

# --- outbox and spool --------------------------------------------------------------------------------
OUTBOX_FILE_BYTES_MAX: Final = 16 << 20
"""A hook process begins a new outbox file beyond this, so that an agent can delete the old one."""
OUTBOX_UNREAD_BYTES_MAX: Final = 4 << 20
"""What a hook process leaves in memory for an agent whose doorbell nobody answers; more goes to the spool."""
OUTBOX_WAITING_BYTES_MAX: Final = 256 << 20
"""What may wait in memory for an agent that takes no more; beyond, hooks go to the burst buffer or the spool."""
OUTBOX_READ_BYTES_MAX: Final = 8 << 20
"""What a reader takes from all outbox files in one call."""
OUTBOX_FILES_MAX: Final = 65_536
"""Outbox files a reader looks at in one directory; one per hook process that is alive or not yet drained."""
SPOOL_LIST_MAX: Final = 10_000
"""Spool files listed at once."""
SPOOL_READ_FILES_MAX: Final = 1_024
"""Spool files read at once; in bytes OUTBOX_READ_BYTES_MAX and one transaction more."""

# --- hooks -------------------------------------------------------------------------------------------
FREE_VALUES_MAX: Final = 10_000
"""Values inside one free field (`params`, `wildcards`); the rest is cut, and the record says so."""
FREE_TEXT_CHARS_MAX: Final = 4_096
"""One text inside a free field."""
PACKAGES_MAX: Final = 100_000
"""Names looked at in the directory of an environment's packages."""
PATTERNS_MAX: Final = 64
"""Patterns of a user's own in one setting."""
COMMAND_ARGUMENTS_MAX: Final = 4_096
"""Arguments of the command line that started a run."""
DIGEST_CACHE_MAX: Final = 65_536
"""Digests a hook process remembers for files that are at rest."""
DIGEST_TABLE_BUCKETS: Final = 16_384
"""Buckets of the table of digests that a user's processes on one host share: 5 MiB for 65,536 files."""
DIGEST_SHARED_BYTES_MIN: Final = 1 << 20
"""Only files of this size are looked up there: smaller ones are hashed as fast as a slow home directory answers."""
FILE_AT_REST_S: Final = 2.0
"""Coarsest clock of a file system that is met (FAT, old NFS): digests of files changed since are not reused."""
HASH_APART_BYTES_MIN: Final = 1 << 20
"""A file of this size is hashed in a thread of its own while others are looked at."""
HASH_OTHER_SIZE_BYTES_MAX: Final = 1 << 40
"""A file that is larger than this and than recorded is not read to know that it changed: a hole costs nothing."""
HASH_THREADS_MAX: Final = 4
"""Threads that hash for one process: the cores are there for the science."""
HASH_WAITING_MAX: Final = 256
"""Looks at files that wait, done, for one before them."""
EMBEDDED_NODES_MAX: Final = 64
"""Agents that one workflow's own service starts on its host."""
PROBLEMS_KEPT_MAX: Final = 20
"""Problems a hook process remembers word by word; the others are counted."""

# --- configuration -----------------------------------------------------------------------------------
CONFIG_BYTES_MAX: Final = 1 << 20
"""One configuration file."""
FLUSH_TIMEOUT_S_MIN: Final = 1.0
FLUSH_TIMEOUT_S_MAX: Final = 86_400.0
"""How long the end of a run may be told to wait for its commits."""

# --- commands ----------------------------------------------------------------------------------------
SHM_FREE_BYTES_MIN: Final = 4 * TAIL_BYTES_MIN
"""With less free shared memory no agent can keep even the smallest ledger tail (a quarter of what is free)."""
SHM_FREE_BYTES_LOW: Final = 2 * OUTBOX_FILE_BYTES_MAX
"""With less, a burst of records does not fit an outbox."""
DISK_FREE_BYTES_MIN: Final = MAP_BYTES_START
"""With less disk a chain is not begun."""
DISK_FREE_BYTES_LOW: Final = 1 << 30
"""With less it is worth a word."""
TRIAL_BYTES: Final = 1 << 20
"""Written to see whether a file system takes it."""
CLOCK_SKEW_S: Final = 60.0
"""Two clocks that differ by more are not synchronised."""
ENGINE_TIMEOUT_S: Final = 60.0
"""How long an engine may take to say which plugins it finds."""
MESSAGE_CHARS_MAX: Final = 2_000
"""One message of the command line; what is longer quotes a name, whose middle is left out."""
WATCH_S_MIN: Final = 0.1
WATCH_S_MAX: Final = 86_400.0
"""Between two looks of a watch."""
INTERRUPT_S: Final = 0.5
"""A watch sleeps no longer than this without asking whether it was interrupted."""
READ_ATTEMPTS_MAX: Final = 100
"""How often something is read again because the storage node wrote on meanwhile."""
STANDING_POLL_S: Final = 1.0
"""How often the keeper of a standing service looks whether it still runs."""
STANDING_END_TIMEOUT_S: Final = 120.0
"""How long it may take to end: a flush that is under way, then the drain."""
LEFTOVER_AGE_S: Final = 60.0
"""What is younger may belong to an agent that is just starting (START_TIMEOUT_S)."""

# --- channels ---------------------------------------------------------------------------------------
FRAME_BYTES_MAX: Final = BLOCK_BYTES_MAX + CERTIFICATE_BYTES_MAX + (1 << 16)
"""One message between processes: a block with its certificate, and lengths."""
HELLO_BYTES_MAX: Final = 1 << 16
"""The first message of a channel, before its sender is anybody."""
HELLO_TIMEOUT_S: Final = 10.0
"""How long a new connection may take for its handshake and first message."""
SEND_QUEUE_BYTES_MAX: Final = 64 << 20
"""What waits to be written to one peer; a peer that does not read loses what is over it."""
HEARTBEAT_S: Final = 2.0
"""A channel that is silent sends something this often."""
SILENCE_S_MAX: Final = 15.0
"""A peer that sent nothing for this long is taken for dead."""
CLOSE_TIMEOUT_S: Final = 1.0
"""How long an orderly end of a connection may take."""
RECONNECT_S: Final = 0.05
RECONNECT_S_MAX: Final = 2.0
"""First and longest pause between attempts to connect; each is shortened at random by up to a half."""
PORT_MAX: Final = 65_535
CONNECTIONS_MAX: Final = SLOTS_MAX + 64
"""Open connections of one listener, those included that have not said who they are."""
STRANGERS_MAX: Final = 64
"""Those among them that have not: a listener accepts no more of them at a time."""
STRANGER_S: Final = 0.5
"""While so many are there, one that needs longer than this makes room for the next."""
NOTES_MAX: Final = 20
NOTES_S: Final = 10.0
"""A listener notes so many dropped connections in such a time word by word, and counts the others."""
TASK_BYTES_MAX: Final = 1 << 30
"""One Parsl task as it is sent to a node, or its result."""
TASK_PART_BYTES: Final = 4 << 20
"""A longer message goes in parts of this size."""
TASK_SILENCE_S_MAX: Final = 60.0
"""SILENCE_S_MAX between a node and the main process, which may hold its interpreter for long."""
TASK_DRAIN_S: Final = 10.0
"""How long a node that is told to end lets its tasks go on."""
NODE_CONNECT_S: Final = 60.0
"""How long a node tries to reach the main process."""
NODE_WORKERS_MAX: Final = 4_096

# --- processes --------------------------------------------------------------------------------------
SIGNAL_APART_S: Final = 1.0
"""Two signals within this are one: a batch system and a parent may both pass it on."""
CONTROL_LINE_BYTES_MAX: Final = 1 << 20
"""A line between a process and the one that started it."""
LOG_BYTES_MAX: Final = 8 << 20
"""A log longer than this is moved aside, one generation."""
LOG_LINES_MAX: Final = 60
"""Lines of one kind of event that a process logs within LOG_WINDOW_S; how many more there were is said afterwards."""
LOG_WINDOW_S: Final = 60.0
LOG_EVENTS_MAX: Final = 1_000
PROBE_S: Final = 3.0
"""How long one of the two connections of `doctor --from-node` may take."""
METRICS_S: Final = 5.0
"""How often a process leaves its figures: a scraper usually comes every 15 seconds."""
SLOTS_S: Final = 1.0
"""How often the storage node looks whether it has something new to say of the slots."""
START_TIMEOUT_S: Final = 20.0
"""How long agents may take to join; who is late joins later."""
MESH_TIMEOUT_S: Final = 5.0
"""How long a start waits for agents to connect to each other: before that, storage decides alone."""
DRAIN_TIMEOUT_S: Final = 30.0
"""How long an ending service tries to get everything committed."""
DRAIN_FULL_TIMEOUT_S: Final = 3.0
"""The same where its disk is full: somebody may be making room, but the user is waiting for the prompt."""
DRAIN_SILENCE_S: Final = 5.0
"""It does not wait longer for agents that all others are waiting for, when none of them can be reached."""
FLUSH_SILENCE_S: Final = 16.0
"""A flush for which all others are done does not wait longer for agents that hear of it and say nothing. Whose process
hangs has lost its channel before that, and may come back."""
PEERS_S: Final = 0.1
"""Addresses of agents that joined within this are told to the others at once: each of N told to N others."""
SERVICE_GRACE_S: Final = 10.0
"""How much longer than the service its client waits for its end; how long an answer to a run that joins may take."""
ANSWER_GRACE_S: Final = 1.0
"""How long after its deadline a flush may be answered."""
ACK_TIMEOUT_S: Final = 10.0
"""How long a hook waits for the commit of its record where `ack` is `committed`."""
ATTEND_TIMEOUT_S: Final = 30.0
"""How long a run waits for a service of this host that is neither to be joined nor over."""
AGENT_END_TIMEOUT_S: Final = 5.0
"""How long an agent that was told to end, or lost its storage node, may take."""
RESTARTS_MAX: Final = 6
"""Nobody waits for a process that died more often in a row, each time before it got to work."""
RESTART_PAUSE_S: Final = 0.05
RESTART_DOUBLINGS_MAX: Final = 10
"""Before the second start in a row; doubled each time, so often at most (51 s)."""
ORPHANS_S: Final = 2.0
"""The storage node looks this often for outboxes whose agents have gone."""
FULL_POLL_S: Final = 1.0
"""A storage node whose disk is full looks this often whether there is room."""
WRITER_LEASE_S: Final = 10.0
"""A storage node that could not say for this long that it lives promises nothing until it has."""
WRITER_LEASE_S_MIN: Final = 0.2
WRITER_LEASE_S_MAX: Final = 3_600.0
"""What a marker may say of its lease."""
WRITER_PATIENCE: Final = 1.5
"""Leases that must pass without a sign of life before another takes over: clocks differ, and signs come late."""
WRITER_BEATS_PER_LEASE: Final = 8
"""Heartbeats within one lease, at least."""
WRITER_BEAT_S_MAX: Final = 1.0
"""Longest pause between two: another process that wants to write is told after it that the chain is in use."""
WRITER_POLL_S: Final = 0.02
"""A process that wants to write looks this often whether the writer lives."""
WRITER_MARKER_BYTES_MAX: Final = 4_096
"""A writer epoch's file."""
RENDEZVOUS_POLL_S: Final = 0.5
"""An agent's keeper looks this often whether another storage process has taken the place of its own."""
SERVICE_POLL_S: Final = 1.0
"""`scichain-wf storage` looks this often whether its service still runs."""
JOIN_LINKS_MAX: Final = 512
"""Newest links sent to an agent that joins with none; older ones are covered by the filter. A run waits for them."""
SYNC_LINKS_MAX: Final = 4_096
"""Newest links sent again to an agent that lost some; one that has fallen further behind begins anew."""
SYNC_BATCH_LINKS: Final = 16
"""Links read at once for an agent that lacks some."""
QUERY_TRANSACTIONS_MAX: Final = 1_024
"""Transactions an agent asks storage about in one message."""
CHECKPOINT_S: Final = 0.1
"""Under load a checkpoint is signed and published this often; else after each group commit."""
COSIGN_S: Final = 1.0
"""How long cosignatures of a checkpoint are waited for before it is published again with those that came."""
POLL_S: Final = 0.25
"""An agent looks into its outbox this often even if no bell rings: a bell can get lost."""
LOOK_TRANSACTIONS_MAX: Final = 256
"""Transactions an agent takes in before it looks at its peers again: some ten milliseconds."""
BELL_S: Final = 0.02
"""Bells within this span make one look, which costs as much for one record as for ten; the first is heeded at once."""
LOOK_PAUSE_S: Final = 0.002
"""Between two looks of which the first left something."""
SPOOL_POLL_S: Final = 1.0
"""The agent that adopts spool files looks for them this often."""
STATUS_S: Final = 0.02
"""During a flush an agent reports at most this often."""
CLOCK_S: Final = 10.0
"""How often an agent compares its two clocks, for the times that blocks claim."""
MINING_ATTEMPTS: Final = 2_048
"""Nonces tried between two looks at everything else: two or three milliseconds."""
REMEMBERED_BLOCKS_MAX: Final = 4_096
"""Foreign proposals an agent keeps until they are linked: to judge again, and so that a link can come without it."""
REMEMBERED_BYTES_MAX: Final = 64 << 20
"""The same in bytes."""

# --- relations --------------------------------------------------------------------------------------
if not (
    BLOCK_TRANSACTIONS_MIN <= BLOCK_TRANSACTIONS_MAX
    and TRANSACTION_BYTES_MAX < EPOCH_TRANSACTION_BYTES_MAX < BLOCK_BYTES_MAX
    and SLOTS_MAX * 700 <= EPOCH_TRANSACTION_BYTES_MAX and HEADER_BYTES_MAX < BLOCK_BYTES_MAX
    and PATH_BYTES_MAX < URI_BYTES_MAX < TEXT_CHARS_MAX
    and 2**PROOF_NODES_MAX > INTEGER_MAX and TAIL_BYTES_MIN <= TAIL_BYTES_DEFAULT
    and CERTIFICATE_BYTES_MAX < RECEIPT_BYTES_MAX
    and 2 * BLOCK_TRANSACTIONS_MAX * (REASONS_PER_ANNOTATION_MAX + 1) * (REASON_URI_CHARS_MAX + 120) < LINK_BYTES_MAX
    and LINK_BYTES_MAX + BLOCK_BYTES_MAX < FRAME_BYTES_MAX
    and 2 * HEARTBEAT_S < SILENCE_S_MAX < FLUSH_SILENCE_S and RECONNECT_S < RECONNECT_S_MAX
    and STRANGERS_MAX < CONNECTIONS_MAX and STRANGER_S < HELLO_TIMEOUT_S
    and HELLO_BYTES_MAX < FRAME_BYTES_MAX < SEND_QUEUE_BYTES_MAX
    and REASONS_PER_ANNOTATION_MAX < ARTIFACTS_PER_TASK_MAX
    and IN_FLIGHT_BLOCKS_MAX < SEQUENCES_REMEMBERED_MAX and PIPELINE_BLOCKS < IN_FLIGHT_BLOCKS_MAX
    and BLOCKS_AHEAD_MAX <= REMEMBERED_BLOCKS_MAX <= VERDICTS_PER_BATCH_MAX
    and JOIN_LINKS_MAX < SYNC_LINKS_MAX
    and WRITER_PATIENCE > 1 and WRITER_LEASE_S_MIN <= WRITER_LEASE_S <= WRITER_LEASE_S_MAX
    and WRITER_POLL_S * 2 < WRITER_LEASE_S_MIN and INTERVAL_US_MIN <= INTERVAL_US_MAX
    and BLOCK_BYTES_MAX <= APPEND_BATCH_BYTES <= STORAGE_QUEUE_BYTES_MAX
    and BLOCK_TRANSACTIONS_MAX <= IN_FLIGHT_TRANSACTIONS_MAX <= POOL_TRANSACTIONS_MAX
    and TRANSACTION_BYTES_MAX < OUTBOX_UNREAD_BYTES_MAX < OUTBOX_READ_BYTES_MAX <= OUTBOX_FILE_BYTES_MAX
):
    raise AssertionError("limits.py contradicts itself")  # not `assert`: this must survive -O

"""What a chain is made of: the records, their canonical bytes and their text forms. No I/O, no clock.

Read in this order: `canonical` (bytes), `text` (digests and keys as text), `schema` (how a record's shape is
stated and checked; `fast` spares bulk work most of that), `uri` (what a file is called), `transaction` with `bodies`
(what a workflow says happened), `epoch` (who may judge), `block`, `verdict`, `certificate`, `link` (how it becomes
final), `checkpoint` and `receipt` (what a stranger verifies).

Every record is versioned, bounded by `limits`, and decoded strictly: bytes that are not exactly what this
package would have written are refused with `DecodeError`.
"""

"""What a workflow's processes use to hand over transactions and to run the embedded service.

`outbox`, `burst` and `spool` are the hook path (standard library only, nothing waits); `service` starts the embedded
storage node and agents from an engine's main process.
"""

"""How processes talk: length-prefixed frames over TLS 1.3 with certificates on both sides. ZeroMQ-free.

`frames` (layout and limits), `runca` (the certificates of one run, made on the fly), `credentials` (what a process
gets of them), `tls` (contexts, who the other side is), `channel` (one connection), `link` (accepting and keeping
connections), `memory` (the twin of a channel without a network). What a frame means is not known here.
"""

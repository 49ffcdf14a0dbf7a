"""Golden vectors: the bytes of every record, fixed. `vectors` makes them, `generate` writes them."""

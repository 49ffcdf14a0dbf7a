"""What `examples/start.py` does, in standard-library Python 3.11."""

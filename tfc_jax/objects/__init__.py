"""Results in an object store: `--out s3://bucket/prefix`.

The object store has what counts; a process works in a folder of its own on a local disk.
"""

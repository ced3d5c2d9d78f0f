"""Where this machine keeps what can be made again: data sets, compiled programs, objects."""

import os
from pathlib import Path


def cache_root() -> Path:
    """$TFC_CACHE, else ~/.cache/tfc_jax."""
    return Path(os.environ.get("TFC_CACHE") or "~/.cache/tfc_jax").expanduser()

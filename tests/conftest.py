"""Settings of JAX, made before it is imported, for every test and every process a test starts."""

import os
from pathlib import Path

_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "tfc_jax"  # never the user's own

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "PJRT_NPROC": "1",  # one XLA thread, as in a worker: the size of its pool changes bits
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TFC_CACHE": str(_CACHE),
    # Many tests and processes compile the same programs; found here, a sweep runs 4 times as fast.
    "JAX_COMPILATION_CACHE_DIR": str(_CACHE / "xla"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),  # with a size, JAX locks the cache
}

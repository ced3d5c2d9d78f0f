"""Does a store keep its promises? Asked with an object of a random name, before anything else.

A store that ignores conditions would let two writers overwrite each other without a word.
"""

import secrets

from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.refusals import StoreError


def check_conditions(bucket: Bucket) -> None:
    """Makes sure that writes under a condition are refused where it does not hold.

    Raises:
      StoreError: they are not, or the store cannot be used.
    """
    key = f".probe-{secrets.token_hex(8)}"
    broken = _broken(bucket, key)
    bucket.delete([key])
    if broken:
        raise StoreError(
            f"{bucket.place.url}: this object store does not keep to {broken}, so two launches "
            f"could overwrite each other's results. Use one that does (S3, Google Cloud Storage, "
            f"Azure Blob Storage, MinIO), or a folder."
        )


def _broken(bucket: Bucket, key: str) -> str:
    """Returns which condition is ignored; nothing if none is."""
    first, second, third = (secrets.token_bytes(16) for _ in range(3))
    version = bucket.create(key, first)
    if version is None or bucket.create(key, second) is not None:
        return "creating an object only if there is none"
    newer = bucket.replace(key, second, version)
    if newer is None or bucket.replace(key, third, version) is not None:
        return "replacing an object only if it is the version that was read"
    if bucket.copy(f"{key}-absent", key):
        return "copying an object only if there is one"
    return ""

"""What an object store, or the library that speaks to it, refuses: each in one sentence."""

import re

from tfc_jax.errors import InputError

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")  # S3, Azure, Google
INVALID = "invalid path"  # a name such as a/../b
# Classes of the library's errors, which is imported where it is used alone.
FINAL = ("PermissionDeniedError", "UnauthenticatedError", "NotSupportedError")

_REFUSED = re.compile(r"status code: (?:4(?!08|29)|501)")  # but "too late" and "too often"


class StoreError(InputError):
    """The object store cannot be reached, or refuses what is asked of it."""


class Outage(StoreError):
    """It cannot be reached now, which may pass by itself."""


def told(error: Exception, url: str, patience: float) -> StoreError:
    """Returns what the user is told.

    Args:
      patience: for how many seconds it was tried.
    """
    said = str(error)
    bucket = url.split("/")[2]
    if lacks_bucket(said):
        return StoreError(f"{url}: there is no bucket {bucket}. Create it, or give another --out.")
    if _is(error, "UnauthenticatedError") or _lacks_credentials(said):
        return StoreError(
            f"{url}: no valid credentials for this store are in the environment. Set "
            f"{CREDENTIALS[url.split(':')[0]]}, then try again."
        )
    if _is(error, "PermissionDeniedError") or "403 Forbidden" in said:
        return StoreError(
            f"{url}: permission denied. The credentials need to list, read, write and delete "
            f"objects there; `tfc status` and others only list and read."
        )
    what = _brief(said)
    if "builder error" in said and what.startswith("http://"):
        return StoreError(
            f"{url}: the store's address is plain http, over which keys and data could be read on "
            f"the way. If nobody can, set AWS_ALLOW_HTTP=true; otherwise give an https address."
        )
    if INVALID in said:
        return StoreError(
            f"{url}: an object there has a name that is no path ({what}). Delete it, or give "
            f"another --out."
        )
    kind = Outage if _may_pass(error) else StoreError
    return kind(
        f"{url}: the object store cannot be used ({what}). What is committed is safe: look at "
        f"the network{' and AWS_ENDPOINT_URL' if url.startswith('s3:') else ''}, then run it "
        f"again; TFC_STORE_SECONDS ({patience:g}) is how long it is tried at most."
    )


def is_final(error: Exception) -> bool:
    """Whether the same request would be refused again."""
    said = str(error)
    # What the library has tried for so long itself is not tried twice as long.
    words = (*NO_BUCKET, INVALID, "builder error", "retries")
    return (
        any(_is(error, name) for name in FINAL)
        or _lacks_credentials(said)
        or any(word in said for word in words)
    )


def is_refused(error: Exception) -> bool:
    """Whether the store has answered that it does not do what is asked."""
    return "status code: 4" in str(error)


def lacks_bucket(said: str) -> bool:
    """Whether the bucket is missing, which is told like a missing object."""
    return any(words in said for words in NO_BUCKET)


def _may_pass(error: Exception) -> bool:
    said = str(error)
    lasts = _is(error, "NotSupportedError") or "builder error" in said
    return "Error performing" in said and not lasts and not _REFUSED.search(said)


def _is(error: Exception, name: str) -> bool:
    return type(error).__name__ == name


def _brief(said: str) -> str:
    """Returns the address and the reason of what the library tells at length."""
    line = " ".join(said.split("\n")[0].split())
    asked = re.search(r"Error performing \w+ (\w+://[^/\s?]+)", line)
    where = f"{asked[1]}: " if asked else ""
    return f"{where}{line.rpartition(' - ')[2][:200]}"


def _lacks_credentials(said: str) -> bool:
    """The library then asks the machine for them, at an address that only those in a cloud have."""
    asked = ("169.254.", "/latest/api/token", "/latest/meta-data", "metadata.google.internal")
    told = ("InvalidAccessKeyId", "InvalidToken", "Account must be specified", "Missing ")
    return any(words in said for words in (*asked, *told))

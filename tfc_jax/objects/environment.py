"""Variables of the environment that say which store is meant; on some the library would panic."""

import os
import re

from tfc_jax.errors import InputError

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"),
    "az": ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
}
_WORDS = {  # that go into headers and addresses
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_REGION", "AWS_DEFAULT_REGION"),
    ),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
}
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._/-]*)?", re.IGNORECASE)
_WORD = re.compile(r"[!-~]*")


def check_environment(scheme: str) -> None:
    """Looks at what the environment says of a kind of store; quotes nothing, it may be a key.

    Raises:
      InputError: an address is none, or there are blanks or line ends where none can be.
    """
    wrong = [
        f"{name}: no address of a store. Allowed: https://HOST:PORT, without a user or a key; or "
        f"unset it."
        for name in _ENDPOINTS.get(scheme, ())
        if not _ADDRESS.fullmatch(os.environ.get(name, "http://none"))
    ]
    wrong += [
        f"{name}: there is a blank, a line end or the like in it. Set it again without."
        for name in _WORDS.get(scheme, ())
        if not _WORD.fullmatch(os.environ.get(name, ""))
    ]
    if wrong:
        raise InputError(wrong)

"""Variables of the environment that say which store is meant; on some the library would panic."""

import os
import re

from tfc_jax.errors import InputError

_PREFIX = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._/-]*)?", re.IGNORECASE)


def check_environment(scheme: str) -> None:
    """Looks at all variables of a kind of store; quotes none, since they may hold keys.

    Raises:
      InputError: one is empty, has blanks or line ends where none can be, or is no address.
    """
    wrong = []
    for name, value in sorted(os.environ.items()):
        if not name.startswith(_PREFIX[scheme]):
            continue
        if "ENDPOINT" in name and not _ADDRESS.fullmatch(value):
            wrong.append(
                f"{name}: no address of a store. Allowed: https://HOST:PORT, without a user or a "
                f"key; or unset it."
            )
        elif value != value.strip() or not value.isprintable():
            wrong.append(
                f"{name}: it begins or ends with a blank, or has a line end in it. Set it again "
                f"without."
            )
    if wrong:
        raise InputError(wrong)

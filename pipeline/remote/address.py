"""The address of a remote: a URL without secrets, checked before any work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import ConfigError, nearest

# The modules that a remote needs beside the core.
MODULES = ("obstore", "cryptography")
WRITABLE = ("s3", "gs", "az", "file")
READ_ONLY = ("http", "https")
ALLOWED = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, https://HOST/PATH (to read), or a folder"
SECRETS = "an address alone: credentials come from the environment, or from the machine's role"


@dataclass(frozen=True)
class Address:
    """The place of a remote.

    Args:
        url: Its URL, of one of the schemes WRITABLE and READ_ONLY.
    """

    url: str

    @classmethod
    def parse(cls, text: str, place: str = "remote") -> Address:
        """The address that somebody typed; a text without a scheme is a folder.

        Args:
            text: What was typed.
            place: Where, for the words of an error.

        Raises ConfigError for a text that is no address, and for one with a secret, which the message does not repeat.
        """
        if "://" not in text:
            return cls(Path(text).expanduser().absolute().as_uri())
        refuse_secrets(text, place)
        scheme = text.partition("://")[0]
        if scheme not in (*WRITABLE, *READ_ONLY):
            what = f"{place} is {text}, and {scheme}:// is no scheme of a remote"
            raise ConfigError(f"{what}{nearest(scheme, (*WRITABLE, *READ_ONLY))}", allowed=ALLOWED)
        if scheme != "file" and not urlsplit(text).netloc:
            raise ConfigError(f"{place} is {text}, which names no bucket", allowed=ALLOWED)
        return cls(text.rstrip("/"))

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def writable(self) -> bool:
        """Whether writing is possible: a web server is only read."""
        return self.scheme in WRITABLE

    @property
    def folder(self) -> Path | None:
        """The folder, if the address is one; None for every other address."""
        return Path(unquote(urlsplit(self.url).path)) if self.scheme == "file" else None

    def __str__(self) -> str:
        return str(self.folder or self.url)


def refuse_secrets(text: str, place: str = "remote") -> None:
    """Raises ConfigError for a URL with a user, a password or a query. The message does not repeat it.

    Hydra and run.json keep everything that is typed, and a signed URL is a password.
    """
    _, sign, rest = text.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    secret = "a user or a password" if "@" in authority else "a query" if re.search(r"[?#]", rest) else ""
    if sign and secret:
        raise ConfigError(
            f"{place} has {secret} in its URL, and what is typed is kept in run.json",
            allowed=SECRETS,
            command=f"{place}=s3://BUCKET/PREFIX, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set",
        )

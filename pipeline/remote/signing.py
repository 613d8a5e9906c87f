"""Signatures of entries: ed25519 over a DSSE envelope, whose payload is the entry as JSON.

DSSE (the Dead Simple Signing Envelope of in-toto and Sigstore) signs exactly the bytes that are parsed afterwards, so
two forms of a document cannot differ. The payload is the whole entry, with the key and the output digest.

The public key itself identifies a signer: `key:` and 64 hex digits. The private key is a PEM file in the user's
configuration folder, which nobody else may read.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import disk
from pipeline.errors import ConfigError
from pipeline.store.actions import Entry, parse
from pipeline.store.files import hidden
from pipeline.store.owners import KEY

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TYPE = "application/vnd.drydock.entry.v1+json"
# How many signatures of one envelope are verified at most: ours has one.
SIGNATURES = 8
UNSIGNED, BROKEN = "unsigned", "with a signature that does not fit"


class NotTrusted(Exception):
    """An entry that is not trusted, with its signer: `key:…`, UNSIGNED or BROKEN."""

    def __init__(self, whose: str) -> None:
        super().__init__(whose)
        self.whose = whose


@dataclass(frozen=True)
class Signer:
    """This user's key pair.

    Args:
        private: The private key.
    """

    private: Ed25519PrivateKey

    @property
    def id(self) -> str:
        """The public key, 64 hex digits."""
        return self.private.public_key().public_bytes_raw().hex()

    def sign(self, entry: Entry) -> str:
        """The envelope of an entry, as it is stored."""
        payload = json.dumps(asdict(entry), sort_keys=True).encode()
        signature = {"keyid": self.id, "sig": _text(self.private.sign(_signed(payload)))}
        return json.dumps({"payloadType": TYPE, "payload": _text(payload), "signatures": [signature]})


def verified(envelope: str | bytes, key: str, trusted: Collection[str]) -> Entry | None:
    """The entry in an envelope, if a trusted signer signed it.

    Args:
        envelope: The envelope as it was read, from anybody.
        key: The key that it was looked up by, which the entry must name.
        trusted: Public keys of trusted signers, 64 hex digits each.

    Returns None for an entry of a trusted signer that this version cannot read, or that is of another key. Raises
    NotTrusted.
    """
    payload, signatures = _opened(envelope)
    whose = UNSIGNED
    for signer, signature in signatures:
        if signer not in trusted:
            whose = f"{KEY}:{signer}"
        elif _holds(signer, signature, payload):
            try:
                return parse(json.loads(payload), key)
            except (ValueError, RecursionError):
                return None
        else:
            whose = BROKEN
    raise NotTrusted(whose)


def _opened(envelope: str | bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The payload, and the signers that the envelope names. Raises NotTrusted for anything that is no envelope."""
    try:
        read = json.loads(envelope)
        if read["payloadType"] != TYPE:
            raise NotTrusted(UNSIGNED)
        signatures = [(str(s["keyid"]), base64.b64decode(s["sig"])) for s in read["signatures"][:SIGNATURES]]
        payload = base64.b64decode(read["payload"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise NotTrusted(UNSIGNED) from None
    return payload, [(signer, signature) for signer, signature in signatures if _is_key(signer)]


def _is_key(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _holds(signer: str, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(signature, _signed(payload))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed(payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding of type and payload."""
    return b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def key_file() -> Path:
    """The path of this user's private key, which may not exist."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home).absolute() / "drydock" / "signing_key.pem"


def own() -> Signer | None:
    """This user's key pair; None where there is none. Raises ConfigError for a file that others can read, or no key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = key_file()
    with disk.explained(f"the signing key {path}", "set XDG_CONFIG_HOME to a folder of yours", path.parent):
        try:
            content, at = path.read_bytes(), path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
    if at.st_uid != os.geteuid() or at.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"the signing key {path} can be read or written by others", allowed="mode 0600", command=f"chmod 600 {path}"
        )
    try:
        private = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(
            f"{path} holds no ed25519 private key in PEM without a password",
            command=f"mv {path} {path}.old && python -m pipeline.trust",
        )
    return Signer(private)


def create() -> Signer:
    """Makes this user's key pair, unless another process has made it already. Raises ConfigError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = key_file()
    content = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with disk.explained(f"the signing key {path}", "set XDG_CONFIG_HOME to a folder of yours", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with hidden(path, 0o600) as beside:
            beside.write_bytes(content)
            try:
                if not disk.link(beside, path):
                    beside.replace(path)
            except FileExistsError:
                pass
    signer = own()
    assert signer is not None
    return signer

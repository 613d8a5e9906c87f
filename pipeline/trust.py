"""`python -m pipeline.trust`: makes this user's signing key if there is none, and prints how others trust it."""

from __future__ import annotations

import argparse

from pipeline import errors
from pipeline.errors import BackendMissing, Problem
from pipeline.machine.installed import how_to_install
from pipeline.machine.world import is_installed
from pipeline.printable import as_typed, tell
from pipeline.remote import signing
from pipeline.store.owners import KEY
from pipeline.terminal import command


def main(say: command.Say) -> int:
    """Prints the public key as `trust=[…]` takes it. Raises ConfigError for a private key that others can read."""
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.trust"),
        description="Prints this user's public key, as others type it: 'trust=[key:…]'. Results that are put into a "
        "remote are signed with the private key, which is made the first time and stays in the user's configuration "
        "folder; a machine that has a copy of that file is the same signer.",
    )
    parser.parse_args()
    if not is_installed("cryptography"):
        raise BackendMissing(Problem("'cryptography' is not installed", command=how_to_install("cryptography")))
    signer = signing.own()
    if signer is None:
        signer = signing.create()
        tell(f"made {signing.key_file()}")
    say(f"{KEY}:{signer.id}")
    return errors.OK


if __name__ == "__main__":
    command.run(main)

"""Who is trusted: a result is a hit when this user built it, or a user whom they named.

An entry says that a key gave a content, and only its author can vouch for that. So the file's owner must be trusted,
and nobody else may be able to write to the file. A content is verified by its digest; its folder's owner must be
trusted too, so that others cannot change it while it is read.

The first user who publishes a result gets the plain name. A second user's result lies beside it, with the number of
its owner in its name. Neither hides the other:

    actions/<stage>/<key>.json      objects/<ab>/<digest>/
    actions/<stage>/<key>.1001.json objects/<ab>/<digest>.1001/

This user's own result is used; otherwise the first one of a user who is named.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.errors import ConfigError, Problem, listed

T = TypeVar("T")
ALLOWED = "user:NAME or group:NAME, of this machine's users and groups, or their numbers; key:HEX, a signer's"
# The prefix of a signer's public key in `trust=`.
KEY = "key"


@dataclass(frozen=True)
class Trust:
    """Whose results are used.

    Args:
        uid: This user.
        users: Other trusted users, by their numbers.
        groups: Groups whose members are trusted.
        keys: Public keys of trusted signers of entries in a remote, 64 hex digits each.
        passed_over: By key, the owner of a result that is not trusted; updated as entries are read.
    """

    uid: int = field(default_factory=os.geteuid)
    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    keys: frozenset[str] = frozenset()
    passed_over: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, named: Sequence[str]) -> Trust:
        """Trusts this user and those in `trust=[user:ana, group:ci, key:…]`. Raises ConfigError for an unknown name."""
        numbers: dict[str, set[int]] = {"user": set(), "group": set()}
        signers: set[str] = set()
        problems = []
        for i, text in enumerate(map(str, named)):
            kind, _, name = text.partition(":")
            if kind == KEY and re.fullmatch("[0-9a-f]{64}", name):
                signers.add(name)
            elif kind == KEY:
                what = f"trust[{i}] is '{text}', which is no public key"
                problems.append(Problem(what, "key: and 64 hex digits", "python -m pipeline.trust prints yours"))
            elif kind not in numbers or not name:
                problems.append(Problem(f"trust[{i}] is '{text}'", ALLOWED, f"'trust=[user:{name or kind or 'NAME'}]'"))
            elif (number := _number(kind, name)) is None:
                what = f"trust[{i}] is '{text}': there is no such {kind}"
                problems.append(Problem(what, ALLOWED, f"getent {_TABLE[kind]}"))
            else:
                numbers[kind].add(number)
        if problems:
            raise ConfigError(problems)
        return cls(users=frozenset(numbers["user"]), groups=frozenset(numbers["group"]), keys=frozenset(signers))

    def covers(self, at: os.stat_result) -> bool:
        """Whether a file or folder is trusted: its owner is, and only the owner can write to it if it is a file."""
        if stat.S_ISREG(at.st_mode) and at.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
        return at.st_uid in (self.uid, *self.users) or not self.groups.isdisjoint(_groups_of(at.st_uid))

    def choose(self, plain: Path, look: Callable[[Path], tuple[T, os.stat_result] | None]) -> T | None:
        """Which of the results under a name is used, if any.

        Args:
            plain: The name.
            look: Reads what is under a name, plain or with an owner's number, and its stat; None where nothing is.
        """
        taken = None
        for path in (plain, self.own(plain)):
            if (found := look(path)) is not None and self.covers(found[1]):
                if found[1].st_uid == self.uid:
                    return found[0]
                taken = taken or found
        if taken is None and (self.users or self.groups):
            key, _, suffix = plain.name.partition(".")
            others = (look(path) for path in sorted(plain.parent.glob(f"{key}.[0-9]*{suffix}")) if path != plain)
            taken = next((found for found in others if found is not None and self.covers(found[1])), None)
        return None if taken is None else taken[0]

    def own(self, plain: Path) -> Path:
        """The path of this user's result when another user has the plain name."""
        key, dot, suffix = plain.name.partition(".")
        return plain.with_name(f"{key}.{self.uid}{dot}{suffix}")

    def summary(self) -> str:
        """How many results were passed over, whose they are, and what to type; empty where none was."""
        counts = Counter(self.passed_over.values())
        if not counts:
            return ""
        mine = "yours, which others may change"
        whose = (f"{n} of {mine if uid == self.uid else user_name(uid)}" for uid, n in counts.items())
        users = ",".join(f"user:{user_name(uid)}" for uid in counts if uid != self.uid)
        way = f"'trust=[{users}]', if what they write may decide what you deliver" if users else ""
        return str(Problem(f"results in the store are not trusted and are passed over: {listed(whose)}", command=way))


_TABLE = {"user": "passwd", "group": "group"}


def _number(kind: str, name: str) -> int | None:
    """The number of a user or a group; None where there is none of that name."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


@functools.cache
def _groups_of(uid: int) -> frozenset[int]:
    """The groups of a user; none for a user whom this machine does not know."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))


def user_name(uid: int) -> str:
    """A user's name, or their number where this machine does not know it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

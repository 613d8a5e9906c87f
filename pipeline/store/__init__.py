"""The store: results by content, and which key gave which result.

format.json                      what wrote this store; another format is neither read nor written
actions/<stage>/<key>.json       action entries: key → content digest, with the whole key document
objects/<ab>/<digest>/           an immutable artifact: a folder of read-only files
objects/<ab>/<digest>.json       its manifest: every file's size and SHA-256
seen/<digest>.json               stat of each file when it was last hashed; only a changed file is hashed again
facts/                           what is true of this machine for now: digests of the user's files, unreachable hosts
runs/<digest>.json               notes that this user's run wrote the run.json with this digest, wherever that file lies
locks/<key>.lock                 one builder per key; it saves work, and correctness never depends on it
marks/{run,staging}-<id>.lock    a run, or a build folder, that is not finished; free when its owner died
staging/<id>/                    where results are built, privately, until they are published by one rename
quarantine/                      damaged objects, kept as evidence
remote/<id>/                     entries with their signatures, and manifests, both read from a remote

Folders have the root's group and mode. Two users may publish under one name: the second file then has its owner's
number in its name. Only files of trusted owners are read: see owners.py. Where this store has no entry, it looks into
the stores below it, which it never writes to, and last into a remote place: see elsewhere.py.
"""

from pipeline.store.actions import Entry
from pipeline.store.locks import Lock
from pipeline.store.objects import Damaged, State
from pipeline.store.owners import Trust
from pipeline.store.store import Store

__all__ = ["Damaged", "Entry", "Lock", "State", "Store", "Trust"]

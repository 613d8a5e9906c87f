"""The store: results by content, and which key gave which result.

format.json                      what wrote this store; another format is neither read nor written
actions/<stage>/<key>.json       action entries: key → content digest, with the whole key document
objects/<ab>/<digest>/           an immutable artifact: a folder of read-only files
objects/<ab>/<digest>.json       its manifest: every file's size and SHA-256
seen/<digest>.json               stat of each file when it was last hashed, so that a look costs no hashing
facts/                           passing facts about this machine: digests of the user's files, unreachable hosts
runs/<digest>.json               that a run of this user's wrote the run.json with this digest, wherever it lies
locks/<key>.lock                 one builder per key; saves work, correctness never depends on it
marks/{run,staging}-<id>.lock    a run, or a build folder, that is not finished; free when its owner died
staging/<id>/                    where results are built, privately, until they are published by one rename
quarantine/                      damaged objects, kept as evidence
remote/<id>/                     entries, with their signatures, and manifests that were read in a remote

Folders are of the root's group and mode; where the name of an entry or an object is another user's, one's own has the
number of its owner in it, and only those of trusted owners are read: see owners.py. A store may look into others below
it, which it never writes to, and last into a place elsewhere: see elsewhere.py.
"""

from pipeline.store.actions import Entry
from pipeline.store.locks import Lock
from pipeline.store.objects import Damaged, State
from pipeline.store.owners import Trust
from pipeline.store.store import Store

__all__ = ["Damaged", "Entry", "Lock", "State", "Store", "Trust"]

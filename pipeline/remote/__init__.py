"""A bucket behind the local store: what other machines built is found there, and what this one builds is put there.

v1/format.json                        what wrote this; another format is neither read nor written
v1/files/<sha256>                     the content of one file, which several objects may share
v1/objects/<digest>.json              a manifest: the files of an object, and the text of its artifact.json
v1/actions/<stage>/<key>.json         a signed action entry: key → content digest; the first writer wins
v1/actions/<stage>/<key>.<id>.json    one of another signer, where the plain name is of somebody it does not trust

A result is written in this order: files, manifest, entry. Each of these appears whole or not at all, so nothing that
can be found leads to something partial. Files and manifests vouch for themselves by their digests. An entry is a claim,
and counts by its signature: see signing.py.

What a bucket does not answer in time, or answers wrongly, is a miss. See remote.py for what that costs.

    store ─► Remote ─► Bucket ═ socket ═► worker ─► Client ─► obstore ─► S3, …
"""

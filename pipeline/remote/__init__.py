"""A bucket behind the local store: results of other machines are read from it, and results of this one are written.

v1/format.json                        the format; another format is neither read nor written
v1/files/<sha256>                     the content of one file, which several objects may share
v1/objects/<digest>.json              a manifest: the files of an object, and the text of its artifact.json
v1/actions/<stage>/<key>.json         a signed action entry: key → content digest; the first writer wins
v1/actions/<stage>/<key>.<id>.json    the entry of another signer, who does not trust the signer of the plain name

A result is written in this order: files, manifest, entry. Each of these appears whole or not at all, so no entry leads
to a partial result. Files and manifests are verified by their digests. An entry is a claim, and its signature decides
whether it counts: see signing.py.

A late or wrong answer of a bucket is a miss. See remote.py for what that costs.

    store ─► Remote ─► Bucket ═ socket ═► worker ─► Client ─► obstore ─► S3, …
"""

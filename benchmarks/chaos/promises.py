"""What is promised, and the test or the part of the campaign that each promise rests on."""

PROMISES = (
    (
        "A finished stage is never built twice for the same key, after any crash, while the store keeps it",
        "`struck`, `command`: what had an entry is a hit in the next run",
    ),
    (
        "Nobody reads a partial or altered artifact: it is hashed before use; a damaged one is set aside and rebuilt",
        "`rot`; `repair`; `tests/pipeline/running/test_runner_damage.py`",
    ),
    (
        "The output folder holds the complete old or the complete new result, or, between two renames, is not there; "
        "the next run restores or replaces it",
        "`struck`, `command`, `racing`: every byte is compared",
    ),
    (
        "After a loss of power at most the stages are lost that had not been told as built",
        "the order of writes and syncs, `tests/pipeline/store/test_objects.py`; no power was cut",
    ),
    (
        "All jobs with one key get the same bytes, even of a compiler that is not deterministic",
        "`racing`; `tests/pipeline/running/test_runner_processes.py`",
    ),
    (
        "A stage that failed, was killed or was not checked never becomes a hit",
        "`struck`: every entry leads to content that is whole; `tests/pipeline/running/test_runner_failures.py`",
    ),
    (
        "A full disk, or a store that is read-only or broken, loses nothing that it has; the run ends in words",
        "`struck`, `command`: ENOSPC, EDQUOT, EROFS, EACCES, EIO; `tests/pipeline/running/test_runner_faults.py`",
    ),
    (
        "Cleaning up never removes what a living run uses, nothing outside the store, and no output of yours",
        "`racing`, `second`, `users`; `tests/pipeline/store/test_store.py`, `tests/pipeline/running/test_delivery.py`",
    ),
    (
        "A budget, `remove` and `move` never take what a run uses, and no run fails for them",
        "`make bench-store`: runs, readers, a budget of half of what they use, kills; `tests/pipeline/housekeeping`",
    ),
    (
        "The same key means the same inputs, code and libraries; `plan=true` names what differed",
        "`tests/pipeline/store/test_key.py`, `tests/pipeline/planning`, `tests/test_cli.py`",
    ),
    ("A checkpoint is opened to be read, and never changed", "`tests/test_cli.py`: its file is read-only there"),
    (
        "No code that came with a model or its record runs unless you allow it by name or digest",
        "`tests/test_trust.py`, `tests/stages/capture/test_program_file.py`; [trust.md](trust.md)",
    ),
    (
        "Ctrl-C and SIGTERM leave no process and no half-written file; SIGKILL leaves what the next run clears away",
        "`struck`, `command`, `racing` look for both; `tests/test_cli.py`, `tests/pipeline/running/test_watchdog.py`",
    ),
    (
        "A store of another format is neither read nor written over",
        "`rot/format.json`; `tests/pipeline/store/test_store.py`",
    ),
    (
        "A remote that is silent, slow, refuses or lies ends no run, and nothing partial can be found in it",
        "`tests/pipeline/remote/test_remote_faults.py`, `test_uploads.py`; [remote.md](remote.md)",
    ),
    (
        "Several users share a store whatever their umask, and one who dies does not shut the others out",
        "`users`; `tests/pipeline/store/test_owners.py`",
    ),
)


def table() -> list[str]:
    return ["| promise | rests on |", "| --- | --- |", *(f"| {what} | {rests} |" for what, rests in PROMISES)]

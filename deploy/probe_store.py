"""Prove that a store lets only one of several simultaneous commits win.

Cubes on an object store rest on conditional writes: whoever commits onto a snapshot that is no
longer the newest must be told so. Some S3-compatible servers check the condition and write in two
steps, and then lose commits without an error. Run this before you trust one with a cube:

    python probe_store.py s3://cubes/probe --endpoint http://store:9000

Every round, all writers start from one snapshot and commit at the same moment. It exits 0 if each
round had exactly one winner and its commit is the newest, 1 if not. It leaves a small repository
under the URL, which may be deleted.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING
from uuid import uuid4

from cube.storage import storage

if TYPE_CHECKING:
    import icechunk


def winners(place: icechunk.Storage, writers: int) -> list[str]:
    """Let `writers` commit onto one snapshot at once; the snapshots of those told they won."""
    import icechunk
    import zarr

    barrier = Barrier(writers)
    sessions = [icechunk.Repository.open(place).writable_session("main") for _ in range(writers)]

    def commit(number: int) -> str | None:
        session = sessions[number]
        zarr.open_group(session.store, mode="a", zarr_format=3).attrs["writer"] = uuid4().hex
        barrier.wait()
        try:
            return str(session.commit(f"writer {number}"))
        except icechunk.ConflictError:
            return None

    with ThreadPoolExecutor(writers) as pool:
        return [snapshot for snapshot in pool.map(commit, range(writers)) if snapshot]


def probe(url: str, options: dict[str, object], writers: int, rounds: int) -> list[str]:
    """Run all rounds; one line for every round that went wrong."""
    import icechunk

    place = storage(f"{url.rstrip('/')}/{uuid4().hex}", options)
    repository = icechunk.Repository.create(place)
    wrong = []
    for number in range(1, rounds + 1):
        won = winners(place, writers)
        newest = repository.lookup_branch("main")
        if won != [newest]:
            wrong.append(f"round {number}: {len(won)} of {writers} writers were told they won")
    return wrong


def main() -> int:
    """Read the command line, probe, and say what came of it."""
    parser = argparse.ArgumentParser(description="Prove a store's conditional writes.")
    parser.add_argument("url", help="where to write, e.g. s3://cubes/probe")
    parser.add_argument("--endpoint", help="the server, if it is not AWS")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    options: dict[str, object] = {"region": given.region}
    if given.endpoint:
        options |= {
            "endpoint_url": given.endpoint,
            "allow_http": given.endpoint.startswith("http://"),
            "force_path_style": True,
        }
    wrong = probe(given.url, options, given.writers, given.rounds)
    for line in wrong:
        sys.stdout.write(line + "\n")
    verdict = "LOSES COMMITS: keep no cube here" if wrong else "one winner a round"
    sys.stdout.write(f"{given.rounds} rounds of {given.writers} writers: {verdict}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a record of NASA's catalogue (UMM-G) says of a granule's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from earthaccess import DataGranule

Access = Literal["https", "s3"]

# Names of UMM-G to those of hashlib; the others of its list are no digests that hashlib has.
ALGORITHMS = {
    "MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512",
}  # fmt: skip

_LINKS = {"https": ("GET DATA", "https://"), "s3": ("GET DATA VIA DIRECT ACCESS", "s3://")}

# What a record raises whose values have other types than they should.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError)


def links_of(
    record: DataGranule, layer_of: Callable[[PurePosixPath], str | None], access: Access = "https"
) -> dict[str, str]:
    """Layer to link, of the layers that the cube has a use for.

    Parameters
    ----------
    layer_of
        Given a file's path, its layer; None or a ValueError for what is none of the cube's.
    access
        Which of the links.
    """
    kind, scheme = _LINKS[access]
    links: dict[str, str] = {}
    for related in record["umm"]["RelatedUrls"]:
        url = str(related["URL"])
        # The session shows its token to the host of the link: never without encryption.
        if related["Type"] != kind or not url.startswith(scheme):
            continue
        with suppress(ValueError):  # a picture, or another file that is no layer
            layer = layer_of(PurePosixPath(urlsplit(url).path))
            if layer:
                links.setdefault(layer, url)
    return links


def facts_of(record: DataGranule, links: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Layer to size and checksum, as far as the record holds them (archive information)."""
    archive = record["umm"].get("DataGranule", {}).get("ArchiveAndDistributionInformation", [])
    by_name = {entry.get("Name"): entry for entry in archive}
    told = {}
    for layer, url in links.items():
        entry = by_name.get(PurePosixPath(urlsplit(url).path).name, {})
        facts: dict[str, Any] = {}
        if "SizeInBytes" in entry:
            facts["size"] = int(entry["SizeInBytes"])
        checksum = entry.get("Checksum", {})
        if checksum.get("Algorithm") in ALGORITHMS:
            facts["checksum"] = f"{ALGORITHMS[checksum['Algorithm']]}:{checksum['Value']}"
        told[layer] = facts
    return told


def size_of(record: DataGranule, facts: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes of the files, or what the record says of all of them."""
    known = sum(int(one.get("size", 0)) for one in facts.values())
    # earthaccess adds up what the record says of all files, in MB.
    return known or round(float(record["size"]) * 2**20)

"""The bill of materials of a stack in SPDX 2.3 (JSON), from its lock and the checkout: nothing is guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from mlip.stack.artifacts import Deb, Image, Source, Wheel
from mlip.stack.lock import Lock
from mlip.stack.places import checkout
from mlip.stack.recipe import Stack

NAMESPACE = "https://spdx.org/spdxdocs/mlip-stack"
NO_STATEMENT = "NOASSERTION"
LICENCE = "MIT"  # of this project


def identifier(kind: str, *parts: str) -> str:
    """A name within the document: letters, digits, dots and hyphens."""
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", "-".join([kind, *parts]))


def purl(item: Deb | Wheel | Source | Image) -> str:
    """The package URL by which scanners look a package up."""
    if isinstance(item, Deb):
        distribution = item.suite.split("-")[0]
        version = quote(item.version, safe="")
        return f"pkg:deb/debian/{quote(item.name, safe='')}@{version}?arch={item.arch}&distro={distribution}"
    if isinstance(item, Wheel):
        return f"pkg:pypi/{item.name}@{quote(item.version, safe='')}"
    if isinstance(item, Image):
        return f"pkg:docker/{item.name}@{quote(item.digest or item.tag, safe='')}"
    if item.debian:
        return f"pkg:deb/debian/{item.debian['package']}@{quote(item.version, safe='')}?arch=source"
    return f"pkg:generic/{item.name}@{quote(item.version, safe='')}?download_url={quote(item.url or '', safe='')}"


def package(item: Deb | Wheel | Source | Image) -> dict[str, Any]:
    """An entry of `packages`."""
    kinds = {Deb: "deb", Wheel: "python", Source: "source", Image: "image"}
    version = item.tag if isinstance(item, Image) else item.version
    entry: dict[str, Any] = {
        "SPDXID": identifier(kinds[type(item)], item.name, version),
        "name": item.name,
        "versionInfo": version,
        "downloadLocation": item.url if isinstance(item, Source) and item.url else NO_STATEMENT,
        "filesAnalyzed": False,
        "licenseConcluded": NO_STATEMENT,
        "licenseDeclared": NO_STATEMENT,
        "copyrightText": NO_STATEMENT,
        "supplier": "Organization: Debian" if isinstance(item, Deb) else NO_STATEMENT,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl(item)}
        ],
    }
    if not isinstance(item, Image):
        entry["packageFileName"] = item.file
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": item.sha256}]
    elif item.digest:
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": item.digest.removeprefix("sha256:")}]
    return entry


@dataclass(frozen=True)
class Own:
    """A Python package of this project, made from the checkout."""

    name: str
    version: str


def own_packages() -> list[Own]:
    """The framework and its names for scripts, as their pyproject.toml call them."""
    found = []
    for path in ("pyproject.toml", "compat/pyproject.toml"):
        text = (checkout() / path).read_text(encoding="utf-8")
        words = dict(re.findall(r'(?m)^(name|version) = "([^"]+)"$', text))
        found.append(Own(words["name"], words["version"]))
    return found


def own_package(item: Own) -> dict[str, Any]:
    """An entry of `packages` for this project's own: no index has them, so that they have no URL of one."""
    return {
        "SPDXID": identifier("own", item.name, item.version),
        "name": item.name,
        "versionInfo": item.version,
        "downloadLocation": NO_STATEMENT,
        "filesAnalyzed": False,
        "licenseConcluded": LICENCE,
        "licenseDeclared": LICENCE,
        "copyrightText": NO_STATEMENT,
        "supplier": NO_STATEMENT,
        "primaryPackagePurpose": "LIBRARY",
    }


def relationship(item: Deb | Wheel | Source | Image, entry: dict[str, Any], image: str) -> dict[str, str]:
    """How an entry belongs to the image: inside it, or needed to build it."""
    inside = isinstance(item, Deb | Wheel) and "runtime" in item.sets
    if isinstance(item, Source):
        return {"spdxElementId": image, "relationshipType": "GENERATED_FROM", "relatedSpdxElement": entry["SPDXID"]}
    if inside:
        return {"spdxElementId": image, "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"]}
    return {"spdxElementId": entry["SPDXID"], "relationshipType": "BUILD_TOOL_OF", "relatedSpdxElement": image}


def document(stack: Stack, lock: Lock) -> dict[str, Any]:
    """The document: the same for the same lock and version of this project, wherever and whenever it is made.

    Args:
        stack: says what the image is.
        lock: says what is in it.
    """
    image = identifier("stack", stack.name)
    created = datetime.fromtimestamp(lock.epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    items: list[Deb | Wheel | Source | Image] = [*lock.debs, *lock.wheels, *lock.sources, *lock.images]
    entries = [package(item) for item in items]
    own = [own_package(item) for item in own_packages()]
    whole: dict[str, Any] = {
        "SPDXID": image,
        "name": f"mlip-{stack.name}",
        "versionInfo": lock.digest[:12],
        "summary": stack.summary,
        "downloadLocation": NO_STATEMENT,
        "filesAnalyzed": False,
        "licenseConcluded": NO_STATEMENT,
        "licenseDeclared": NO_STATEMENT,
        "copyrightText": NO_STATEMENT,
        "primaryPackagePurpose": "CONTAINER",
    }
    values: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"mlip-{stack.name}-{lock.date}",
        "documentNamespace": f"{NAMESPACE}-{stack.name}-{lock.digest}",
        "creationInfo": {"created": created, "creators": ["Tool: mlip-stack"]},
        "documentDescribes": [image],
        "packages": [whole, *own, *entries],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": image},
            *[
                {"spdxElementId": image, "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"]}
                for entry in own
            ],
            *[relationship(item, entry, image) for item, entry in zip(items, entries, strict=True)],
        ],
    }
    if lock.unresolved:
        words = "; ".join(entry.what for entry in lock.unresolved)
        values["comment"] = f"The stack also has what its lock could not pin: {words}"
    return values

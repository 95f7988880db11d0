from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from mlip.stack import lock as locks
from mlip.stack import recipe, sbom
from mlip.stack.lock import Deb, Image, Lock, Source, Unresolved, Wheel

LOCK = Lock(
    "cpu",
    "0" * 64,
    "2026-11-21",
    debs=[
        Deb("libc6", "2:2.41-1+b1", "amd64", "trixie-security", "libc6_2.41-1+b1_amd64.deb", "a" * 64, 5, ("runtime",)),
        Deb("g++", "4:14", "amd64", "trixie", "g++_14_amd64.deb", "b" * 64, 5, ("toolchain",)),
    ],
    wheels=[Wheel("torch", "2.13.0+cpu", "torch-2.13.0+cpu-cp311-cp311-linux.whl", "c" * 64, 5, ("runtime",))],
    sources=[Source("lammps", "20260330", "lammps.tar.gz", "d" * 64, 1, url="https://example.org/lammps.tar.gz")],
    images=[Image("rocm/dev", "6.4", "sha256:" + "e" * 64)],
    unresolved=[Unresolved("torch's triton", "not in reach", "bring it")],
)
# What the JSON schema of SPDX 2.3 requires, and the values it allows for what is used here.
DOCUMENT_KEYS = {"SPDXID", "creationInfo", "dataLicense", "name", "spdxVersion"}
PACKAGE_KEYS = {"SPDXID", "downloadLocation", "name"}
REFERENCE_KEYS = {"referenceCategory", "referenceLocator", "referenceType"}
RELATIONSHIPS = {"DESCRIBES", "CONTAINS", "BUILD_TOOL_OF", "GENERATED_FROM"}


def check(document: dict[str, Any]) -> None:
    """Assert what the standard asks of a document."""
    assert document.keys() >= DOCUMENT_KEYS
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["dataLicense"] == "CC0-1.0"
    assert document["SPDXID"] == "SPDXRef-DOCUMENT"
    assert re.fullmatch(r"https://[^#\s]+", document["documentNamespace"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["creationInfo"]["created"])
    assert all(re.match(r"(Tool|Person|Organization): .+", who) for who in document["creationInfo"]["creators"])
    identifiers = [package["SPDXID"] for package in document["packages"]]
    assert len(identifiers) == len(set(identifiers))
    for package in document["packages"]:
        assert package.keys() >= PACKAGE_KEYS
        assert re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", package["SPDXID"])
        assert package["filesAnalyzed"] is False
        for checksum in package.get("checksums", []):
            assert checksum["algorithm"] == "SHA256"
            assert re.fullmatch(r"[0-9a-f]{64}", checksum["checksumValue"])
        for reference in package.get("externalRefs", []):
            assert reference.keys() == REFERENCE_KEYS
            assert reference["referenceCategory"] == "PACKAGE-MANAGER"
            assert re.fullmatch(r"pkg:[a-z]+/[^\s]+", reference["referenceLocator"])
    for relation in document["relationships"]:
        assert relation["relationshipType"] in RELATIONSHIPS
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= {"SPDXRef-DOCUMENT", *identifiers}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return sbom.document(recipe.load("cpu"), LOCK)


def entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(package for package in document["packages"] if package["name"] == name)


def test_the_document_is_what_the_standard_asks_for(document: dict[str, Any]) -> None:
    check(document)


@pytest.mark.parametrize("name", recipe.names())
def test_so_are_those_of_the_stacks(name: str) -> None:
    check(sbom.document(recipe.load(name), locks.read(locks.file_of(name))))


@pytest.mark.parametrize(
    "name,purl",
    [
        ("libc6", "pkg:deb/debian/libc6@2%3A2.41-1%2Bb1?arch=amd64&distro=trixie"),
        ("g++", "pkg:deb/debian/g%2B%2B@4%3A14?arch=amd64&distro=trixie"),
        ("torch", "pkg:pypi/torch@2.13.0%2Bcpu"),
        ("lammps", "pkg:generic/lammps@20260330?download_url=https%3A%2F%2Fexample.org%2Flammps.tar.gz"),
        ("rocm/dev", f"pkg:docker/rocm/dev@sha256%3A{'e' * 64}"),
    ],
)
def test_every_part_has_its_package_url_and_hash(document: dict[str, Any], name: str, purl: str) -> None:
    package = entry(document, name)
    assert package["externalRefs"][0]["referenceLocator"] == purl
    assert len(package["checksums"][0]["checksumValue"]) == 64


def test_it_says_what_is_inside_and_what_was_only_used_to_build(document: dict[str, Any]) -> None:
    image = document["documentDescribes"][0]
    relations = {
        (r["relationshipType"], r["spdxElementId"], r["relatedSpdxElement"]) for r in document["relationships"]
    }
    assert ("CONTAINS", image, entry(document, "torch")["SPDXID"]) in relations
    assert ("CONTAINS", image, entry(document, "libc6")["SPDXID"]) in relations
    assert ("BUILD_TOOL_OF", entry(document, "g++")["SPDXID"], image) in relations
    assert ("GENERATED_FROM", image, entry(document, "lammps")["SPDXID"]) in relations


def test_it_is_the_same_for_the_same_lock_and_has_another_name_for_another(document: dict[str, Any]) -> None:
    stack = recipe.load("cpu")
    assert sbom.document(stack, LOCK) == document
    assert document["creationInfo"]["created"] == "2026-11-21T00:00:00Z"
    other = sbom.document(stack, replace(LOCK, wheels=[]))
    assert other["documentNamespace"] != document["documentNamespace"]


def test_what_is_not_pinned_is_said(document: dict[str, Any]) -> None:
    assert "torch's triton" in document["comment"]


def test_this_projects_own_packages_are_parts_too(document: dict[str, Any]) -> None:
    image = document["documentDescribes"][0]
    contained = {r["relatedSpdxElement"] for r in document["relationships"] if r["relationshipType"] == "CONTAINS"}
    for name in ("mlip", "mlip-nequip-compat"):
        package = entry(document, name)
        assert package["versionInfo"] == "0.1.0"
        assert package["licenseDeclared"] == "MIT"
        assert package["SPDXID"] in contained
    assert image not in contained

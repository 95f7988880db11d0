"""Models that the reference trained and saved, imported: same energies and forces as its own calculator gives."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.io import write

from mlip.deploy.package import read_package, write_package
from mlip.deploy.reference_import import import_reference, reference_package
from tests.conformance.conftest import ROOT
from tests.conformance.reference_results import check_equal, structures
from tests.conformance.trained_models import NEWEST, TRAINED, Peer, Trained

pytestmark = pytest.mark.conformance

PACKAGED = [name for name, trained in TRAINED.items() if trained.package]


Peers = Callable[[str], Peer | None]


@pytest.fixture(scope="session")
def peers(peer_python: Path) -> Peers:
    """The reference by version; an older one is laid over its environment when it is first asked for."""

    @functools.cache
    def peer(version: str) -> Peer | None:
        if version == NEWEST:
            return Peer(peer_python)
        overlay = installed(peer_python, ROOT / f"requirements/peer-{version}.txt")
        return Peer(peer_python, version, overlay) if overlay is not None else None

    return peer


def installed(peer_python: Path, lock: Path) -> Path | None:
    """A folder with the packages of a lock, kept beside the environment; None if they cannot be had."""
    overlay = peer_python.parents[1] / f"{lock.stem}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not overlay.is_dir():
        partial = overlay.with_name(f"{overlay.name}.partial")
        command = [peer_python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", partial]
        done = subprocess.run([*command, "-r", lock], capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr)
            return None
        partial.rename(overlay)
    return overlay


class Runs:
    """Checkpoints and packages, made when a test first asks for them."""

    def __init__(self, peers: Peers, folder: Path) -> None:
        self._peers, self.folder = peers, folder
        self.structures = folder / "structures.traj"
        write(self.structures, structures())

    def peer(self, name: str) -> Peer:
        version = TRAINED[name].version
        found = self._peers(version)
        if found is None:
            pytest.skip(f"nequip {version} is not there: requirements/peer-{version}.txt could not be installed")
        return found

    def checkpoint(self, name: str) -> Path:
        found = self.folder / name / "last.ckpt"
        return found if found.exists() else self.peer(name).train(found.parent, TRAINED[name])

    def package(self, name: str) -> Path:
        found = self.folder / name / "packaged.nequip.zip"
        return found if found.exists() else self.peer(name).package(self.checkpoint(name))


@pytest.fixture(scope="session")
def runs(peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(peers, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("name", TRAINED)
def test_a_checkpoint_gives_what_the_reference_computes_with_it(runs: Runs, name: str) -> None:
    checkpoint = runs.checkpoint(name)
    expected = runs.peer(name).evaluate(runs.folder, [checkpoint], runs.structures)[str(checkpoint)]
    potential, _ = import_reference(checkpoint)
    check_equal(potential, expected)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_package_gives_what_the_reference_computes_with_it(runs: Runs, name: str) -> None:
    package = runs.package(name)
    expected = runs.peer(name).evaluate(runs.folder, [package], runs.structures)[str(package)]
    potential, _ = import_reference(package)
    check_equal(potential, expected)


@pytest.mark.parametrize("name", PACKAGED)
def test_checkpoint_and_package_hold_the_same_weights(runs: Runs, name: str) -> None:
    """The package is made of the averaged weights; a checkpoint holds those beside the others."""
    from_checkpoint, _ = import_reference(runs.checkpoint(name))
    from_package, _ = import_reference(runs.package(name))
    assert from_checkpoint.config == from_package.config
    for key, tensor in from_checkpoint.state_dict().items():
        torch.testing.assert_close(from_package.state_dict()[key], tensor, rtol=0, atol=0)


def test_averaged_weights_are_not_the_trained_ones(runs: Runs) -> None:
    checkpoint = torch.load(runs.checkpoint("nequip_zbl_ema"), weights_only=True)
    potential, _ = import_reference(runs.checkpoint("nequip_zbl_ema"))
    trained = checkpoint["state_dict"]["model.sole_model.model.func.type_embed.embed_module.weight"]
    assert not torch.equal(potential.state_dict()["architecture.type_embedding.weight"], trained)


@pytest.mark.parametrize("modified", [False, True])
def test_a_model_trained_further_from_a_package(runs: Runs, tmp_path: Path, modified: bool) -> None:
    """Its config says where the package is, and only that package says how the model is built."""
    base = runs.package("nequip_zbl_ema")
    model: dict[str, Any] = {"_target_": "nequip.model.ModelFromPackage", "package_path": str(base)}
    if modified:
        change = {"modifier": "modify_PerTypeScaleShift", "shifts": {"Au": -3.0}, "shifts_trainable": True}
        model = {"_target_": "nequip.model.modify", "modifiers": [change], "model": model}
    trained = Trained(model, average="ema")
    peer = runs.peer("nequip_zbl_ema")
    checkpoint = peer.train(tmp_path / "further", trained)
    package = peer.package(checkpoint)
    expected = peer.evaluate(tmp_path, [checkpoint, package], runs.structures)
    for path in (checkpoint, package):
        potential, _ = import_reference(path)
        check_equal(potential, expected[str(path)])
    moved = tmp_path / "elsewhere" / base.name
    moved.parent.mkdir()
    base.rename(moved)
    try:
        with pytest.raises(ValueError, match="--base"):
            import_reference(package)
        potential, _ = import_reference(package, base=moved)
        check_equal(potential, expected[str(package)])
    finally:
        moved.rename(base)


def test_an_imported_model_becomes_a_package_of_ours(runs: Runs, tmp_path: Path) -> None:
    output = tmp_path / "ours.nequip.zip"
    write_package(reference_package(runs.package("allegro_edge_cutoffs_zbl")), output)
    package = read_package(output)
    assert package.provenance["trained_with"]["allegro"] == "0.8.3"
    expected, _ = import_reference(runs.checkpoint("allegro_edge_cutoffs_zbl"))
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(package.weights[key], tensor, rtol=0, atol=0)

"""Checkpoints and packages that do not fit are refused, each in one sentence that names the file and the cure."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlip.deploy.checkpoint import read_checkpoint
from mlip.deploy.errors import CheckpointError, PackageError, StoredModelError
from mlip.deploy.model_source import load_model
from mlip.deploy.package import Package, load_package, read_package, write_package
from mlip.models import build_model
from tests import golden_model_files as golden

CHECKPOINT = golden.FOLDER / "checkpoint-2.ckpt"
PACKAGE = golden.FOLDER / "package-1.nequip.zip"
Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


def changed(source: Path, target: Path, change: Change, *, digest: bool = True) -> Path:
    """A file of ours, its JSON and tensors changed; with the right sum over the weights unless told otherwise."""
    from safetensors.torch import load, save

    from mlip.deploy.container import tensor_bytes

    with zipfile.ZipFile(source) as archive:
        document_name, tensors_name = archive.namelist()
        document, tensors = json.loads(archive.read(document_name)), load(archive.read(tensors_name))
    change(document, tensors)
    if digest and isinstance(document.get("weights"), dict):
        import hashlib

        document["weights"]["sha256"] = hashlib.sha256(tensor_bytes(tensors)).hexdigest()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(document_name, json.dumps(document))
        archive.writestr(tensors_name, save(tensors))
    return target


def says(error: pytest.ExceptionInfo[StoredModelError], path: Path) -> str:
    """The message: one sentence on one line that names the file."""
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [CHECKPOINT, PACKAGE, golden.FOLDER / "checkpoint-1.ckpt"], ids=lambda p: p.name)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_file_that_is_cut_off(source: Path, share: float, tmp_path: Path) -> None:
    cut = tmp_path / source.name
    cut.write_bytes(source.read_bytes()[: int(share * source.stat().st_size)])
    with pytest.raises(StoredModelError) as error:
        load_model(cut)
    assert "damaged or cut off" in says(error, cut)


@pytest.mark.parametrize("source", [CHECKPOINT, PACKAGE], ids=lambda p: p.name)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_file_with_flipped_bits(source: Path, share: float, tmp_path: Path) -> None:
    content = bytearray(source.read_bytes())
    place = int(share * len(content))
    content[place : place + 20] = bytes(byte ^ 0xFF for byte in content[place : place + 20])
    file = tmp_path / source.name
    file.write_bytes(content)
    with pytest.raises(StoredModelError) as error:
        load_model(file)
    assert "damaged or cut off" in says(error, file)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for name, what in (("no.ckpt", "no such checkpoint"), ("no.nequip.zip", "no such package")):
        with pytest.raises(StoredModelError, match=what):
            load_model(tmp_path / name)
    with pytest.raises(StoredModelError, match="is a folder, not a checkpoint"):
        load_model(tmp_path)


# Other versions and other contents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [CHECKPOINT, PACKAGE], ids=lambda p: p.name)
def test_a_newer_format(source: Path, tmp_path: Path) -> None:
    file = changed(source, tmp_path / source.name, lambda document, _: document.update(format_version=99))
    with pytest.raises(StoredModelError) as error:
        load_model(file)
    text = says(error, file)
    assert "format 99, written by a newer mlip" in text
    assert "update mlip" in text


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda document, _: document.update(modifier=[]), r"unknown key 'modifier' .*did you mean modifiers\?"),
        (lambda document, _: document.update(colour="red"), r"unknown key 'colour' .*known are model, type_names"),
        (lambda document, _: document.pop("units"), r"lacks units in its model.json"),
        (lambda document, _: document.update(data=[]), r"has a data that is not an object"),
        (lambda document, _: document.update(r_max=4.0), r"contradicts itself: r_max is 4.0, but 3.2 in its model"),
        (lambda document, _: document.update(format="zip"), r"is not a package of mlip"),
        (lambda document, _: document["model"].update(r_maxx=3), r"unknown parameter 'r_maxx'; did you mean 'r_max'"),
        (lambda document, _: document["model"].update(_target_="os.system"), r"unknown model 'os.system'"),
        (lambda document, _: document["model"].update(readout_mlp_hidden_layers_width=5), r"shape \(8, 4\).*implies"),
        (
            lambda _, tensors: tensors.pop("architecture.readout.weights.1"),
            r"weights are missing in it: architecture.readout.weights.1",
        ),
        (lambda _, tensors: tensors.update(extra=torch.ones(1)), r"has no use for: extra"),
        (lambda _, tensors: tensors["scale_shift.shifts"].fill_(torch.nan), r"not finite: scale_shift.shifts"),
    ],
)
def test_a_package_that_does_not_fit(change: Change, message: str, tmp_path: Path) -> None:
    file = changed(PACKAGE, tmp_path / "model.nequip.zip", change)
    with pytest.raises(PackageError, match=message) as error:
        load_package(file)
    says(error, file)


def test_weights_of_another_package(tmp_path: Path) -> None:
    file = changed(PACKAGE, tmp_path / "m.nequip.zip", lambda _, t: t["scale_shift.shifts"].add_(1), digest=False)
    with pytest.raises(PackageError, match="are not those it was made with") as error:
        load_package(file)
    says(error, file)


def test_lost_weights(tmp_path: Path) -> None:
    file = tmp_path / "model.nequip.zip"
    with zipfile.ZipFile(PACKAGE) as source, zipfile.ZipFile(file, "w") as target:
        target.writestr("model.json", source.read("model.json"))
    with pytest.raises(PackageError, match=r"lacks weights.safetensors, it holds model.json") as error:
        read_package(file)
    says(error, file)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda document, _: document["contents"].update(x={"$call": ["os.system"]}),
            r"unknown kind of value '\$call'",
        ),
        (lambda document, _: document["contents"].pop("state_dict"), "no weights with a model config"),
        (lambda document, _: document["contents"].pop("mlip"), "was not written by mlip's nequip-train"),
        (lambda document, _: document.pop("contents"), "damaged or cut off"),
    ],
)
def test_a_checkpoint_that_does_not_fit(change: Change, message: str, tmp_path: Path) -> None:
    file = changed(CHECKPOINT, tmp_path / "best.ckpt", change)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(file)
    says(error, file)


# Disguises ----------------------------------------------------------------------------------------------------------


class Trap:
    """What a hostile pickle does: it runs a function when it is read."""

    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _spring, ()


def _spring() -> None:
    Trap.sprung = True


@pytest.mark.parametrize("name", ["best.ckpt", "model.nequip.zip"])
@pytest.mark.parametrize("disguise", ["pickle", "torch.save", "in the zip"])
def test_a_pickle_that_is_called_a_model_does_not_run(name: str, disguise: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if disguise == "pickle":
        file.write_bytes(pickle.dumps(Trap()))
    elif disguise == "torch.save":
        torch.save({"state_dict": {}, "hyper_parameters": Trap(), "mlip": {"format_version": 1}}, file)
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("checkpoint.json" if name.endswith("ckpt") else "model.json", pickle.dumps(Trap()))
            archive.writestr("data.pkl", pickle.dumps(Trap()))
    with pytest.raises(StoredModelError) as error:
        load_model(file)
    says(error, file)
    assert not Trap.sprung


@pytest.mark.parametrize("name", ["best.ckpt", "model.nequip.zip"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_another_file_is_no_model(name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(StoredModelError, match=r"is not a (checkpoint|package)|damaged or cut off") as error:
        load_model(file)
    says(error, file)


def test_a_checkpoint_may_be_called_a_package_and_the_other_way_round(tmp_path: Path) -> None:
    """What a file is, its contents say."""
    (tmp_path / "a.nequip.zip").write_bytes(CHECKPOINT.read_bytes())
    (tmp_path / "b.ckpt").write_bytes(PACKAGE.read_bytes())
    assert golden.deviation(load_model(tmp_path / "a.nequip.zip")) < 1e-12
    assert golden.deviation(load_model(tmp_path / "b.ckpt")) < 1e-12


# Writing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, message", [("model.zip", "must end with .nequip.zip"), ("no/model.nequip.zip", "there is no folder")]
)
def test_where_a_package_cannot_be_written(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=message):
        write_package(Package.of(build_model(golden.MODEL)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_package_that_would_not_load_is_not_written(tmp_path: Path) -> None:
    package = Package.of(build_model(golden.MODEL))
    del package.weights["scale_shift.shifts"]
    with pytest.raises(PackageError, match=r"was not written: weights are missing"):
        write_package(package, tmp_path / "model.nequip.zip")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import mlip.deploy.package as module

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "model.nequip.zip"
    file.write_bytes(b"old")
    monkeypatch.setattr(module, "write_container", full)
    with pytest.raises(PackageError, match="no space left on the disk; what was there before is kept"):
        write_package(Package.of(build_model(golden.MODEL)), file)
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]

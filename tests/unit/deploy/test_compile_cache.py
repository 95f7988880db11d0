"""The cache of compiled files: the same content is found, anything else is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mlip.deploy.compile import compile_potential
from mlip.deploy.compile_cache import CompileCache
from mlip.deploy.targets import TARGETS
from mlip.models import Potential, build_model
from tests.compiled_models import CONFIGS


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("NEQUIP_CACHE_DIR", raising=False)
    monkeypatch.setenv("MLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def potential(seed: int = 1) -> Potential:
    return build_model(CONFIGS["allegro"] | {"seed": seed})


def entry(model: Potential, options: dict[str, Any] | None = None) -> CompileCache:
    return CompileCache(model, {"target": "ase"} if options is None else options, "cpu", ".nequip.pth")


def test_a_kept_file_is_found_for_the_same_model_and_options(folder: Path) -> None:
    (folder / "made").write_bytes(b"code")
    assert not entry(potential()).take(folder / "copy")
    entry(potential()).keep(folder / "made")
    assert entry(potential()).take(folder / "copy")
    assert (folder / "copy").read_bytes() == b"code"


def test_other_weights_options_or_torch_are_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    model = potential()
    path = entry(model).path
    assert entry(model, {"target": "batch"}).path != path
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-6
    assert entry(model).path != path
    assert entry(potential(seed=2)).path != path
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert entry(potential()).path != path


def test_a_forgotten_file_is_gone(folder: Path) -> None:
    (folder / "made").write_bytes(b"code")
    kept = entry(potential())
    kept.keep(folder / "made")
    kept.forget()
    assert not kept.take(folder / "copy")


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "file").write_bytes(b"no folder")
    monkeypatch.setenv("MLIP_CACHE", str(folder / "file"))
    (folder / "made").write_bytes(b"code")
    kept = entry(potential())
    kept.keep(folder / "made")
    assert not kept.take(folder / "copy")


def test_the_second_time_nothing_is_compiled_and_a_damaged_file_is_made_anew(folder: Path) -> None:
    calls: list[str] = []

    def compile_once(name: str) -> float:
        return compile_potential(
            potential(),
            folder / name,
            mode="torchscript",
            device="cpu",
            target=TARGETS["pair_allegro"],
            use_cache=True,
            progress=calls.append,
        )

    deviation = compile_once("first.nequip.pth")
    assert calls == ["compiling", "checking"]
    calls.clear()
    assert compile_once("second.nequip.pth") == deviation
    assert calls == ["checking"]
    assert (folder / "second.nequip.pth").read_bytes() == (folder / "first.nequip.pth").read_bytes()
    (kept,) = (folder / "cache" / "compiled").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    calls.clear()
    compile_once("third.nequip.pth")
    assert calls == ["checking", "compiling", "checking"]

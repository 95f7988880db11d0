"""Models by name: asked for once, checked by hash, and one clear sentence where they cannot be had."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlip.deploy.model_source import cutoff_radius_of, load_model, type_names_of
from mlip.deploy.nequip_net import ModelServerError, cache_folder, model_file
from tests import golden_model_files as golden
from tests.local_server import LocalServer, local_server

NAME = "nequip.net:mir-group/CuAu:0.1"
ASKED = "/api/models/download/mir-group%2FCuAu%3A0.1"
PACKAGE = (golden.FOLDER / "package-1.nequip.zip").read_bytes()


def answer(server: LocalServer, newer: str | None = None, **artifact: Any) -> None:
    """Let the server say where the file is."""
    described = {"downloadUrl": f"{server.url}/files/m.zip", "viewUrl": "", "hostName": "here", "doi": ""} | artifact
    content = {"modelId": "mir-group/CuAu:0.1", "newerVersionId": newer, "webUrl": "", "artifact": described}
    server.files[ASKED] = json.dumps(content).encode()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A server with one model, and an empty cache."""
    monkeypatch.setenv("MLIP_CACHE", str(tmp_path / "cache"))
    for variable in ("NEQUIP_CACHE_DIR", "NEQUIP_NO_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    with local_server() as running:
        monkeypatch.setenv("MLIP_MODEL_SERVER", running.url + "/")
        answer(running)
        running.files["/files/m.zip"] = PACKAGE
        yield running


def test_a_model_is_downloaded_once(server: LocalServer) -> None:
    for _ in range(2):
        assert golden.deviation(load_model(NAME)) < 1e-12
        assert type_names_of(NAME) == ["Cu", "Au"]
        assert cutoff_radius_of(NAME) == 3.2
    assert [path for path, _ in server.requests] == [ASKED, "/files/m.zip"]


def test_a_model_in_the_cache_needs_no_network(server: LocalServer) -> None:
    load_model(NAME)
    server.status = 503
    assert golden.deviation(load_model(NAME)) < 1e-12


def test_the_cache_says_what_it_holds(server: LocalServer) -> None:
    with model_file(NAME) as path:
        assert path.name == "mir-group-CuAu-0.1.nequip.zip"
        assert path.is_relative_to(cache_folder())
        record = json.loads((path.parent / "source.json").read_text())
    assert record["model_id"] == "mir-group/CuAu:0.1"
    assert record["url"] == f"{server.url}/files/m.zip"
    assert record["sha256"] == hashlib.sha256(PACKAGE).hexdigest()


@pytest.mark.usefixtures("server")
def test_a_file_that_changed_in_the_cache_is_not_used() -> None:
    with model_file(NAME) as path:
        path.write_bytes(PACKAGE[:-1])
    with pytest.raises(ModelServerError, match=r"has changed since it was downloaded .another sha256.: remove"):
        load_model(NAME)


def test_a_file_of_another_hash_than_the_server_says_is_not_kept(server: LocalServer) -> None:
    answer(server, sha256="0" * 64)
    with pytest.raises(ModelServerError, match="gave a file with the sha256"):
        load_model(NAME)
    assert not list(cache_folder().rglob("*.zip"))


def test_a_download_that_broke_off_goes_on(server: LocalServer) -> None:
    server.break_after = len(PACKAGE) // 8
    with pytest.raises(ModelServerError, match="what came is kept and will be continued"):
        load_model(NAME)
    assert not list(cache_folder().rglob("*.zip"))
    server.break_after = None
    assert golden.deviation(load_model(NAME)) < 1e-12


def test_without_a_cache_nothing_is_kept(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEQUIP_NO_CACHE", "1")
    with model_file(NAME) as path:
        assert path.is_file()
    assert not path.exists()
    assert not cache_folder().exists()
    load_model(NAME)
    assert [asked for asked, _ in server.requests].count("/files/m.zip") == 2


@pytest.mark.usefixtures("server")
def test_another_folder_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEQUIP_CACHE_DIR", str(tmp_path / "elsewhere"))
    with model_file(NAME) as path:
        assert path.is_relative_to(tmp_path / "elsewhere")


def test_a_newer_version_is_mentioned(server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    answer(server, newer="mir-group/CuAu:0.2")
    load_model(NAME)
    assert "there is a newer version of mir-group/CuAu:0.1: mir-group/CuAu:0.2" in caplog.text


@pytest.mark.parametrize("name", ["nequip.net:", "nequip.net:CuAu:0.1", "nequip.net:a/b", "nequip.net:a/../b:1"])
def test_a_name_that_is_none(name: str, server: LocalServer) -> None:
    with pytest.raises(ModelServerError, match=r"is no name of a model: write nequip.net:GROUP/NAME:VERSION"):
        load_model(name)
    assert not server.requests


@pytest.mark.usefixtures("server")
def test_a_model_the_server_does_not_have() -> None:
    with pytest.raises(ModelServerError, match=r"has no model mir-group/AuCu:0.1 \(HTTP 404\): check group, name"):
        load_model("nequip.net:mir-group/AuCu:0.1")


@pytest.mark.usefixtures("server")
def test_without_a_network_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLIP_MODEL_SERVER", "http://127.0.0.1:9")
    with pytest.raises(ModelServerError) as error:
        load_model(NAME)
    assert "cannot ask http://127.0.0.1:9 for the model mir-group/CuAu:0.1" in str(error.value)
    assert "without a network, download its package elsewhere and give the file instead" in str(error.value)


@pytest.mark.parametrize("content", [b"<html>", b"{}", b"[]", b'{"artifact": null}'])
def test_an_answer_that_is_none(content: bytes, server: LocalServer) -> None:
    server.files[ASKED] = content
    with pytest.raises(ModelServerError, match=r"gave an answer about mir-group/CuAu:0.1 that says no address"):
        load_model(NAME)


def test_files_of_the_machine_are_no_downloads(server: LocalServer, tmp_path: Path) -> None:
    answer(server, downloadUrl=(tmp_path / "secret").as_uri())
    with pytest.raises(ModelServerError, match="gave no web address"):
        load_model(NAME)

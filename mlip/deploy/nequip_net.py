"""Models by name, ``nequip.net:GROUP/NAME:VERSION``: asked for once, then kept in a cache with their sha256.

The address is that of the NequIP project; ``MLIP_MODEL_SERVER`` names another one, a mirror inside a cluster for
example. Files go to ``models`` in ``MLIP_CACHE``; ``NEQUIP_CACHE_DIR`` names another folder, and ``NEQUIP_NO_CACHE=1``
keeps none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path

from mlip.deploy.errors import StoredModelError

log = logging.getLogger(__name__)

PREFIX = "nequip.net:"
SERVER_VARIABLE = "MLIP_MODEL_SERVER"
_SERVER = "https://www.nequip.net"
_IDENTIFIER = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9-]+:[A-Za-z0-9.-]+")
_TIMEOUT = 30.0  # seconds
_RECORD = "source.json"
_LARGEST_ANSWER = 1 << 20  # bytes; the description of a model is a few hundred


class ModelServerError(StoredModelError):
    """A model cannot be had by its name; the message says why and what to do."""


@dataclass(frozen=True)
class _Record:
    """What is kept beside a file: where it came from, and its hash."""

    model_id: str
    server: str
    url: str
    sha256: str
    file: str


def is_model_id(source: str) -> bool:
    """Whether a source is a name rather than a path."""
    return source.startswith(PREFIX)


@contextlib.contextmanager
def model_file(source: str) -> Iterator[Path]:
    """The package of a name, downloaded if it is not in the cache.

    Args:
        source: ``nequip.net:GROUP/NAME:VERSION``.

    Yields:
        A ``.nequip.zip`` file; without a cache it is there until the block ends.

    Raises:
        ModelServerError: not such a name, no connection, no such model, or a file in the cache that has changed.
    """
    model_id = source.removeprefix(PREFIX)
    if not _IDENTIFIER.fullmatch(model_id):
        raise ModelServerError(f"{source!r} is no name of a model: write {PREFIX}GROUP/NAME:VERSION")
    if os.environ.get("NEQUIP_NO_CACHE") == "1":
        with tempfile.TemporaryDirectory() as folder:
            yield _cached(model_id, Path(folder))
    else:
        yield _cached(model_id, cache_folder())


def cache_folder() -> Path:
    """Where models are kept."""
    given = os.environ.get("NEQUIP_CACHE_DIR")
    if given:
        return Path(given)
    return project_cache_folder() / "models"


def project_cache_folder() -> Path:
    """Where files are kept that can be made again."""
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MLIP_CACHE") or Path(user) / "mlip")


def _cached(model_id: str, cache: Path) -> Path:
    from mlip.data.download import locked
    from mlip.data.errors import DataError

    server = os.environ.get(SERVER_VARIABLE, _SERVER).rstrip("/")
    folder = cache / hashlib.sha256(f"{model_id}|{server}".encode()).hexdigest()[:16]
    path = folder / (re.sub(r"[/:]", "-", model_id) + ".nequip.zip")
    if _is_kept(path):
        return path
    try:
        with locked(cache):
            if not _is_kept(path):  # another process may have been faster
                _fetch(server, model_id, path)
    except DataError as error:
        text = str(error).replace("set data_source_dir to another folder", "let MLIP_CACHE name another folder")
        raise ModelServerError(text) from error
    return path


def _is_kept(path: Path) -> bool:
    """Whether a file is in the cache, and as it came.

    Raises:
        ModelServerError: it has changed.
    """
    from mlip.data.download import sha256_of

    record = _read_record(path.with_name(_RECORD))
    if record is None or not path.is_file():
        return False
    if sha256_of(path) != record.sha256:
        raise ModelServerError(
            f"{path} has changed since it was downloaded (another sha256): remove the folder {path.parent} to download "
            "it again"
        )
    return True


def _fetch(server: str, model_id: str, path: Path) -> None:
    from mlip.data.download import Source, download, sha256_of

    url, expected = _ask(server, model_id)
    path.unlink(missing_ok=True)  # one without a record may be anything
    download(Source(url, path.name, expected), path.parent)
    _write_record(path.with_name(_RECORD), _Record(model_id, server, url, sha256_of(path), path.name))
    log.info("%s is kept as %s", model_id, path)


def _ask(server: str, model_id: str) -> tuple[str, str | None]:
    """Where the file of a model is, and its sha256 if the server says it."""
    address = f"{server}/api/models/download/{urllib.parse.quote(model_id, safe='')}"
    if not address.startswith(("http://", "https://")):
        raise ModelServerError(f"{SERVER_VARIABLE} must begin with http:// or https://, not {server}")
    request = urllib.request.Request(address, headers={"User-Agent": "mlip", "Accept": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - checked above
            answer = json.loads(response.read(_LARGEST_ANSWER))
        artifact = answer["artifact"]
        url, digest = str(artifact["downloadUrl"]), artifact.get("sha256")
    except urllib.error.HTTPError as error:
        raise ModelServerError(
            f"{server} has no model {model_id} (HTTP {error.code}): check group, name and version"
        ) from error
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = str(getattr(error, "reason", error))
        raise ModelServerError(
            f"cannot ask {server} for the model {model_id}: {reason}; without a network, download its package "
            "elsewhere and give the file instead of its name"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelServerError(f"{server} gave an answer about {model_id} that says no address of a file") from error
    if not url.startswith(("http://", "https://")):
        raise ModelServerError(f"{server} gave no web address for {model_id} but {url!r}; nothing was downloaded")
    if answer.get("newerVersionId"):
        log.warning("there is a newer version of %s: %s", model_id, answer["newerVersionId"])
    return url, digest if isinstance(digest, str) else None


def _read_record(path: Path) -> _Record | None:
    try:
        return _Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_record(path: Path, record: _Record) -> None:
    from mlip.data.atomic_file import atomic_file

    with atomic_file(path) as partial:
        partial.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")

"""What the tests of the pair styles share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .lammps_models import BUILDERS, LammpsModel

_built: dict[str, LammpsModel] = {}


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LammpsModel]:
    """A model by its name in BUILDERS; each is written once per session."""

    def get(name: str) -> LammpsModel:
        if name not in _built:
            _built[name] = BUILDERS[name](tmp_path_factory.mktemp("model"))
        return _built[name]

    return get

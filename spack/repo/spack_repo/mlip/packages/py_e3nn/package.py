# SPDX-License-Identifier: MIT
from spack_repo.builtin.build_systems.python import PythonPackage

from spack.package import *


class PyE3nn(PythonPackage):
    """Operations that are equivariant under rotations, translations and mirrors, for torch."""

    homepage = "https://e3nn.org"
    pypi = "e3nn/e3nn-0.6.0.tar.gz"

    license("MIT")

    version("0.6.0", sha256="5c2b414e9527aad27d755ae9546596e3f7706f45a21dae71c7deedb6c048e4de")

    depends_on("py-setuptools", type="build")
    depends_on("py-setuptools-scm", type="build")

    with default_args(type=("build", "run")):
        depends_on("python@3.8:")
        depends_on("py-opt-einsum-fx@0.1.4:")
        depends_on("py-scipy")
        depends_on("py-sympy")
        depends_on("py-torch@2.2:")

# SPDX-License-Identifier: MIT
from spack_repo.builtin.build_systems.python import PythonPackage

from spack.package import *


class PyMatscipy(PythonPackage):
    """Neighbour lists and other tools of materials science, for ASE's structures."""

    homepage = "https://github.com/libAtoms/matscipy"
    pypi = "matscipy/matscipy-1.3.1.tar.gz"

    license("LGPL-2.1-or-later")

    version("1.3.1", sha256="b66296fff34d63f36bbc5c23e307808c8060202016e779bf2d3fa762d8050258")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("py-meson-python", type="build")

    with default_args(type=("build", "run")):
        depends_on("python@3.10:")
        depends_on("py-ase@3.27:")
        depends_on("py-numpy@2:")
        depends_on("py-packaging")
        depends_on("py-scipy@1.2.3:")

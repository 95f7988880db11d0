# SPDX-License-Identifier: MIT
import os

from spack_repo.builtin.build_systems.python import PythonPackage

from spack.package import *

# The clone that this repository of packages belongs to.
CLONE = ancestor(os.path.realpath(__file__), 7)


class PyMlip(PythonPackage):
    """Train NequIP and Allegro interatomic potentials, compile them, and run them in LAMMPS and ASE.

    The sources are those of the clone that this package lies in. Where torch is an environment of wheels,
    mlip is better installed there: this package is for those who want all of it from Spack.
    """

    license("MIT")

    has_code = False  # nothing is downloaded
    version("0.1.0")

    depends_on("py-setuptools@77:", type="build")

    with default_args(type=("build", "run")):
        depends_on("python@3.10:")
        depends_on("py-ase")
        depends_on("py-e3nn@0.5:")
        depends_on("py-h5py")
        depends_on("py-hydra-core@1.3:")
        depends_on("py-lightning@2.6:")
        depends_on("py-lmdb")
        depends_on("py-matplotlib")
        depends_on("py-matscipy")
        depends_on("py-numpy")
        depends_on("py-pyyaml")
        depends_on("py-rich")
        depends_on("py-safetensors")
        depends_on("py-torch@2.13:")
        depends_on("py-torchmetrics")
        depends_on("py-vesin")

    # compiled models are tied to torch's version
    conflicts("^py-torch@2.14:")

    import_modules = ["mlip", "mlip.models", "mlip.nn"]

    @run_before("install")
    def copy_sources(self):
        """Take what setuptools reads: the clone itself may not be writable, and stays as it is."""
        for name in ("mlip", "configs"):
            install_tree(join_path(CLONE, name), join_path(self.build_directory, name))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            install(join_path(CLONE, name), self.build_directory)

    @property
    def build_directory(self):
        """The stage: Spack makes an empty one where nothing is downloaded."""
        return self.stage.path

    def test_command(self):
        """the command starts"""
        Executable(self.prefix.bin.mlip)("--help")

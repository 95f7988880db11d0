# SPDX-License-Identifier: MIT
from spack_repo.builtin.build_systems.python import PythonPackage

from spack.package import *


class PyOptEinsumFx(PythonPackage):
    """Contraction orders of opt_einsum for the graphs of torch.fx."""

    homepage = "https://github.com/Linux-cpp-lisp/opt_einsum_fx"
    pypi = "opt_einsum_fx/opt_einsum_fx-0.1.4.tar.gz"

    license("MIT")

    version("0.1.4", sha256="7eeb7f91ecb70be65e6179c106ea7f64fc1db6319e3d1289a4518b384f81e74f")

    depends_on("py-setuptools@42:", type="build")

    with default_args(type=("build", "run")):
        depends_on("py-opt-einsum")
        depends_on("py-packaging")
        depends_on("py-torch@1.8:")

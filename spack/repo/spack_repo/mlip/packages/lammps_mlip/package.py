# SPDX-License-Identifier: MIT
import hashlib
import json
import os
import re

from spack_repo.builtin.packages.lammps.package import Lammps

from spack.package import *

# The clone that this repository of packages belongs to: the pair styles are its folder lammps/.
CLONE = ancestor(os.path.realpath(__file__), 7)
STYLES = join_path(CLONE, "lammps")
# Debian's source archive of 4 Jul 2026: the projects' own hosts do not serve these bytes.
DEBIAN = "20260704"
DEBIAN_SHA256 = "cddbc45a047416bd48a4a0b87f24a5b61b3446982b74d18cafe619c22b17eb62"


class LammpsMlip(Lammps):
    """LAMMPS with the pair styles nequip and allegro compiled in, on the host and through Kokkos.

    The styles come from the clone of mlip that this package lies in; how they are added to LAMMPS is in
    its lammps/cmake/package.cmake.
    """

    version(DEBIAN, sha256=DEBIAN_SHA256)

    variant(
        "kokkos_styles",
        default="selected",
        values=("selected", "all"),
        multi=False,
        when="+kokkos",
        description="LAMMPS' own styles for Kokkos: those of recipes/lammps.yaml, or all (hours of compiling)",
    )

    # C++ is compiled with the ABI that torch's wheels have since 2.7
    depends_on("py-torch@2.7:", type=("build", "run"))
    depends_on("python@3.10:")
    depends_on("py-numpy@2:", when="+python", type=("build", "run"))
    depends_on("cmake@3.20:", type="build")

    conflicts("@:20250721", msg="the pair styles need LAMMPS of 22Jul2025 or newer")
    conflicts("~lib", msg="the pair styles are tested in LAMMPS as a shared library")
    conflicts("%gcc@:10", msg="the pair styles are C++20")

    sanity_check_is_file = [join_path("bin", "lmp")]

    @property
    def manual_download(self):
        """Whether no host serves the sources."""
        return self.spec.satisfies(f"@{DEBIAN}")

    @property
    def download_instr(self):
        """What to do then."""
        return (
            f"LAMMPS {DEBIAN} is Debian's source archive: `mlip stack fetch cpu` and `mlip stack spack cpu "
            "--mirror DIR` write a mirror that has it; then `spack mirror add mlip DIR`"
        )

    def url_for_version(self, version):
        """Where a version's sources are: those of Debian in the mirror's usual place."""
        if str(version) == DEBIAN:
            cached = join_path("_source-cache", "archive", DEBIAN_SHA256[:2], f"{DEBIAN_SHA256}.tar.gz")
            return f"file://{join_path(CLONE, 'build', 'spack-mirror', cached)}"
        return super().url_for_version(version)

    @run_before("cmake")
    def leave_out_kokkos_styles(self):
        """Remove the styles for Kokkos that recipes/lammps.yaml does not name, before CMake lists them."""
        if not self.spec.satisfies("kokkos_styles=selected"):
            return
        with open(join_path(self.package_dir, "kokkos_styles.json"), encoding="utf-8") as file:
            wanted = set(json.load(file))
        for header in find(join_path(self.stage.source_path, "src", "KOKKOS"), "*.h", recursive=False):
            stem = os.path.splitext(header)[0]
            with open(header, encoding="utf-8") as file:
                is_style = re.search(r"^#ifdef [A-Z_]+_CLASS", file.read(), re.MULTILINE)
            if is_style and os.path.basename(stem) not in wanted:
                force_remove(header)
                force_remove(f"{stem}.cpp")

    def cmake_args(self):
        """LAMMPS' own options, and what adds the pair styles and torch."""
        args = super().cmake_args() + [
            self.define("CMAKE_CXX_STANDARD", "20"),
            self.define("CMAKE_PROJECT_lammps_INCLUDE", join_path(STYLES, "cmake", "package.cmake")),
            self.define("MLIP_TORCH_ROOT", self.torch_folder()),
            self.define("MLIAP_ENABLE_PYTHON", self.spec.satisfies("+ml-iap+python")),
            self.define("WITH_GZIP", False),
        ]
        if self.spec.satisfies("+python"):
            headers = join_path("numpy", "_core", "include")
            numpy = join_path(self.site_packages(self.spec["py-numpy"].prefix), headers)
            args.append(self.define("Python_NumPy_INCLUDE_DIR", numpy))
        return args

    def site_packages(self, prefix):
        """Where Python's packages are below a prefix."""
        return join_path(prefix, "lib", f"python{self.spec['python'].version.up_to(2)}", "site-packages")

    def torch_folder(self):
        """The folder of the Python package torch, of a wheel environment as of Spack's own."""
        folder = join_path(self.site_packages(self.spec["py-torch"].prefix), "torch")
        if not os.path.isdir(join_path(folder, "include")):
            raise InstallError(
                f"there is no torch in {folder}: name the Python environment that has it as the external py-torch "
                "(mlip stack spack NAME --python PREFIX)"
            )
        return folder

    @run_after("install")
    def record_styles(self):
        """Write which pair styles these are: the clone may change afterwards."""
        mkdirp(self.prefix.share.mlip)
        with open(join_path(self.prefix.share.mlip, "styles.json"), "w", encoding="utf-8") as file:
            json.dump(digests(STYLES), file, indent=1)

    def test_styles(self):
        """lmp has the pair styles, for Kokkos too where it has that"""
        words = set(Executable(self.prefix.bin.lmp)("-h", output=str.split, error=str.split).split())
        wanted = {"nequip", "allegro"}
        if self.spec.satisfies("+kokkos"):
            wanted |= {"nequip/kk", "allegro/kk"}
        assert wanted <= words, f"lmp has no pair style {', '.join(sorted(wanted - words))}"

    def test_sources(self):
        """the installed pair styles are those of the clone"""
        with open(join_path(self.prefix.share.mlip, "styles.json"), encoding="utf-8") as file:
            installed = json.load(file)
        present = digests(STYLES)
        changed = [name for name in sorted({*installed, *present}) if installed.get(name) != present.get(name)]
        assert not changed, f"changed since: {', '.join(changed[:5])}; spack install --overwrite lammps-mlip"

    def test_models(self):
        """tiny models give the same energies and forces in lmp as in Python"""
        checks = ["styles", "compile", "energy-lammps"]
        if self.spec.satisfies("+kokkos"):
            checks.append("energy-kokkos")
        if self.spec.satisfies("+ml-iap+python"):
            checks.append("energy-mliap")
        beside_torch = join_path(self.spec["py-torch"].prefix.bin, "python3")
        program = beside_torch if is_exe(beside_torch) else self.spec["python"].command.path
        prefixes = [self.prefix, self.spec["py-torch"].prefix]
        paths = [CLONE, *map(self.site_packages, prefixes), os.environ.get("PYTHONPATH", "")]
        Executable(program)(
            *("-m", "mlip.cli.main", "doctor", "--lmp", self.prefix.bin.lmp, "--only", *checks),
            extra_env={"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )


def digests(folder):
    """The sha256 of every file of the pair styles, by its path."""
    found = {}
    for part in ("cmake", "src"):
        for path in sorted(find(join_path(folder, part), "*")):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return found

"""Spack environments from a recipe: spack/envs/NAME/spack.yaml, what is built, and machine.yaml, what is there.

spack.yaml is the same on every machine. machine.yaml says where compilers, MPI, GPU libraries and torch are: in
spack/envs on the stack's own machine, which is its image or its site; elsewhere spack_machine writes another one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from mlip.stack import places, spack_recipe
from mlip.stack.errors import StackError
from mlip.stack.lammps_sources import wanted_styles
from mlip.stack.python_tree import PREFIX as PYTHON
from mlip.stack.recipe import Stack

HEADER = "rendered from recipes/stacks/{name}.yaml by mlip stack render; not edited by hand"
PACKAGE = "lammps-mlip"
STYLES = Path("spack/repo/spack_repo/mlip/packages/lammps_mlip/kokkos_styles.json")
# LAMMPS' options in recipes/lammps.yaml and the variants of Spack's package that set them.
VARIANTS = {
    "BUILD_MPI": "mpi",
    "BUILD_OMP": "openmp",
    "BUILD_SHARED_LIBS": "lib",
    "WITH_CURL": "curl",
    "WITH_FFMPEG": "ffmpeg",
    "WITH_JPEG": "jpeg",
    "WITH_PNG": "png",
}
# Options that our package.py sets itself.
OF_PACKAGE = {"CMAKE_BUILD_TYPE", "FFT", "MLIAP_ENABLE_PYTHON", "WITH_GZIP"}
FFT_KOKKOS = {"cpu": "kiss", "cuda": "cufft", "rocm": "hipfft"}
# What of ROCm LAMMPS, Kokkos and their compilers ask for; all of it lies below one prefix.
ROCM = (
    *("comgr", "hip", "hipfft", "hsa-rocr-dev", "llvm-amdgpu", "rocfft", "rocm-core", "rocm-device-libs"),
    *("rocm-openmp-extras", "rocm-smi-lib", "rocprim", "rocthrust"),
)


def gpu_variants(stack: Stack, device: str) -> str:
    """Variants of a package that is compiled for the stack's GPU, or for none: `+cuda cuda_arch=90 ~rocm`."""
    if device == "cuda":
        return f"+cuda cuda_arch={stack.gpu_arch[0].removeprefix('sm_').rstrip('af')} ~rocm"
    if device == "rocm":
        return f"~cuda +rocm amdgpu_target={stack.gpu_arch[0]}"
    return "~cuda ~rocm"


def kokkos_device(stack: Stack) -> str:
    """What Kokkos computes on: cpu, cuda or rocm. It may be the host where torch has a GPU."""
    return {"CUDA": "cuda", "HIP": "rocm"}.get(stack.kokkos.backends[0], "cpu")


def root_spec(stack: Stack, root: Path | None = None) -> str:
    """What is installed: LAMMPS with the packages and options of recipes/lammps.yaml.

    Raises:
        StackError: recipes/lammps.yaml has an option that has no counterpart here.
    """
    recipe = stack.lammps_recipe["lammps"]
    switches = {name.lower(): True for name in recipe["packages"]}
    switches |= {name: False for name in spack_recipe.load(root)["on_by_default"]["packages"] if name not in switches}
    for option, value in recipe["options"].items():
        if option in VARIANTS:
            switches[VARIANTS[option]] = value
        elif option not in OF_PACKAGE:
            raise StackError(f"recipes/lammps.yaml: Spack's LAMMPS has nothing for lammps.options.{option}")
    device = kokkos_device(stack)
    values = {
        "build_type": recipe["options"]["CMAKE_BUILD_TYPE"],
        "fft": recipe["options"]["FFT"].lower(),
        "fft_kokkos": FFT_KOKKOS[device],
        "lammps_sizes": "smallbig",
    }
    words = [f"{'+' if on else '~'}{name}" for name, on in sorted(switches.items())]
    words += [f"{name}={value}" for name, value in values.items()]
    return " ".join([f"{PACKAGE}@{stack.lammps.version.split('+')[0]}", gpu_variants(stack, device), *words])


def kokkos_spec(stack: Stack) -> str:
    """The one Kokkos that may be used; without this Spack takes the newest."""
    device = kokkos_device(stack)
    words = {"OPENMP": "+openmp", "SERIAL": "+serial"}
    switches = [word for backend, word in words.items() if backend in stack.kokkos.backends]
    if device == "cuda":
        switches.append("+wrapper")  # nvcc behind a compiler's name: Kokkos with GCC asks for it
    standard = "20" if int(stack.kokkos.version.split(".")[0]) >= 5 else "17"
    return " ".join(
        [f"@{stack.kokkos.version}", "+shared", *switches, gpu_variants(stack, device), f"cxxstd={standard}"]
    )


def environment(stack: Stack, root: Path | None = None) -> dict[str, Any]:
    """The content of spack.yaml."""
    site = spack_recipe.site_of(stack, root)
    mpi = (
        f"{site['mpi']}@{stack.site.cray_mpich}" if site and stack.site else f"{stack.mpi.package}@{stack.mpi.version}"
    )
    if site:
        # without these MPI is taken to know nothing of GPUs, and the library that does is not linked
        mpi += f" {gpu_variants(stack, stack.device)}"
    kokkos = {"kokkos": {"require": [kokkos_spec(stack)]}}
    if kokkos_device(stack) == "cuda":
        kokkos["kokkos-nvcc-wrapper"] = {"require": [f"@{stack.kokkos.version}"]}
    target = site["target"] if site else spack_recipe.load(root)["target"]
    return {
        "spack": {
            "specs": [root_spec(stack, root)],
            "include": ["machine.yaml"],
            "view": {"default": {"root": ".spack-env/view", "link": "roots"}},
            # machines where this is concretized need not be those where it runs
            "concretizer": {"unify": True, "reuse": False, "targets": {"host_compatible": False}},
            "packages": {
                "all": {"require": [f"target={target}"]},
                **kokkos,
                "mpi": {"require": [mpi]},
                "py-torch": {"require": [f"@{stack.torch.version} {gpu_variants(stack, stack.device)}"]},
            },
            "modules": {
                "default": {
                    "enable": ["lmod"],
                    "roots": {"lmod": "$env/modules"},
                    "lmod": {
                        "hide_implicits": True,
                        "hash_length": 0,
                        "core_compilers": ["gcc"],
                        PACKAGE: {"autoload": "direct"},
                    },
                }
            },
        }
    }


def external(spec: str, prefix: str, python: str = "", **more: Any) -> dict[str, Any]:
    """A package that is there: Spack neither builds nor looks for it."""
    found: dict[str, Any] = {"spec": spec, "prefix": prefix, **more}
    if python:
        found["dependencies"] = [{"spec": f"python@{python}", "deptypes": ["build", "run"]}]
    return {"buildable": False, "externals": [found]}


def compiler(version: str, prefix: str) -> dict[str, Any]:
    """GCC as Spack wants to know it."""
    compilers = {"c": f"{prefix}/bin/gcc", "cxx": f"{prefix}/bin/g++"}
    return external(f"gcc@{version} languages:='c,c++'", prefix, extra_attributes={"compilers": compilers})


def python_packages(stack: Stack, versions: dict[str, str], prefix: str, python: str) -> dict[str, Any]:
    """The externals that one environment of wheels is: torch, NumPy and setuptools, all below its prefix."""
    torch = f"py-torch@{stack.torch.version} {gpu_variants(stack, stack.device)}"
    found = {"py-torch": external(torch, prefix, python)}
    for name in ("numpy", "setuptools"):
        if name in versions:
            found[f"py-{name}"] = external(f"py-{name}@{versions[name]}", prefix, python)
    return found


def gpu_packages(stack: Stack, prefix: str) -> dict[str, Any]:
    """The externals of the GPU's toolkit, where Kokkos is compiled with one."""
    device, toolkit = kokkos_device(stack), stack.toolkit
    if toolkit is None or device == "cpu":
        return {}
    if device == "cuda":
        return {"cuda": external(f"cuda@{toolkit.version}", prefix)}
    found = {name: external(f"{name}@{toolkit.version}", prefix) for name in ROCM}
    compilers = {"c": f"{prefix}/bin/amdclang", "cxx": f"{prefix}/bin/amdclang++"}
    found["llvm-amdgpu"] = external(
        f"llvm-amdgpu@{toolkit.version}", f"{prefix}/lib/llvm", extra_attributes={"compilers": compilers}
    )
    found["hip"] = external(f"hip@{toolkit.version} ~cuda +rocm", prefix)
    return found


def _site_packages(stack: Stack, site: dict[str, Any], cmake: str) -> dict[str, Any]:
    """What the stack's site has, but for Python."""
    variants = gpu_variants(stack, stack.device)
    mpi = f"{site['mpi']}@{stack.site.cray_mpich if stack.site else ''} {variants}"
    return {
        "cmake": external(f"cmake@{cmake}", PYTHON),  # the wheel beside torch's
        "gmake": external(f"gmake@{site['make']}", "/usr"),
        "gcc": compiler(site["gcc"], site["gcc_prefix"]),
        site["mpi"]: external(mpi, site["mpi_prefix"]),
        **gpu_packages(stack, site["rocm_prefix"]),
    }


def _debian_packages(stack: Stack, versions: dict[str, str]) -> dict[str, Any]:
    """What the system that compiles images has, but for Python itself."""
    gcc = next(version for name, version in sorted(versions.items()) if name.startswith("gcc-") and name[4:].isdigit())
    major = (stack.toolkit.version if stack.toolkit else "").split(".")[0]
    found = {
        "cmake": external(f"cmake@{versions['cmake']}", "/usr"),
        "gmake": external(f"gmake@{versions['make']}", "/usr"),
        "gcc": compiler(gcc, "/usr"),
        stack.mpi.package: external(f"{stack.mpi.package}@{stack.mpi.version}", PYTHON),
        **gpu_packages(stack, f"{PYTHON}/lib/python{stack.python.version}/site-packages/nvidia/cu{major}"),
    }
    if stack.lammps.sources == "debian":
        found["kokkos"] = external(f"kokkos{kokkos_spec(stack)}", "/usr")
    return found


def machine(stack: Stack, root: Path | None = None) -> dict[str, Any]:
    """The content of machine.yaml on the stack's own machine: the system of its image, or its site.

    Raises:
        StackError: recipes/spack.yaml does not know the site.
    """
    versions, site = spack_recipe.locked_versions(stack, root), spack_recipe.site_of(stack, root)
    if site:
        python = stack.python.version
        found = _site_packages(stack, site, spack_recipe.required_version("cmake", "cpu", root))
    else:
        python = versions[f"python{stack.python.version}"]
        found = _debian_packages(stack, versions)
    # the Python of that environment: Debian's own looks for packages in folders that no other has
    found["python"] = external(f"python@{python}", PYTHON)
    found |= python_packages(stack, versions, PYTHON, python)
    return {"packages": {"mpi": {"buildable": False}, **dict(sorted(found.items()))}}


def rendered(stack: Stack, root: Path | None = None) -> dict[Path, str]:
    """The files of a stack and what should be in them; none for a stack without a lock.

    Args:
        stack: the recipe.
        root: the checkout; by default the one this package belongs to.

    Raises:
        StackError: recipes/spack.yaml and the stack do not fit.
    """
    root = root or places.checkout()
    if not spack_recipe.locked_versions(stack, root):
        return {}
    folder = root / "spack" / "envs" / stack.name
    header = HEADER.format(name=stack.name)
    return {
        folder / "spack.yaml": written(environment(stack, root), f"{header}\n# {stack.summary}"),
        folder / "machine.yaml": written(
            machine(stack, root), f"{header}\n# What is there on the stack's own machine; mlip stack spack writes yours"
        ),
        root / STYLES: json.dumps(sorted(wanted_styles(stack.lammps_recipe["lammps"]["kokkos_styles"])), indent=1)
        + "\n",
    }


def written(content: dict[str, Any], header: str) -> str:
    """YAML under a comment, keys in the order in which they were put in."""
    return f"# {header}\n" + yaml.safe_dump(content, sort_keys=False, width=1000, default_flow_style=False)

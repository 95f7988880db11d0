# SPDX-License-Identifier: MIT
"""Compile our Kokkos styles, and on request the files of LAMMPS they rest on, for GPUs: objects only, without a GPU.

    ci/compile-cuda [--lammps] [--only NAME ...]      CUDA, sm_90
    ci/compile-hip  [--lammps] [--only NAME ...]      HIP, gfx90a

What this shows: the code is valid for the compiler of that GPU, without a warning in our files. What it cannot show:
that the objects link. For that Kokkos itself must be built for the backend, from its own sources; here are only its
headers, set up as that build would. Each file takes about a minute of processor time and up to 2 GB.

Sources, Kokkos' and MPI's headers are those of the stack cpu (``make lmp`` fetches them, too). The compilers: nvcc
comes from the Python index into the cache folder, hipcc from Debian into a root filesystem there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from mlip.stack import fetch, lock, recipe  # noqa: E402
from mlip.stack.apt import source_lines  # noqa: E402
from mlip.stack.cache import cached, digest, run, say  # noqa: E402
from mlip.stack.chroot import enter  # noqa: E402
from mlip.stack.errors import StackError  # noqa: E402
from mlip.stack.parts import Build  # noqa: E402
from mlip.stack.places import cache_folder  # noqa: E402
from mlip.stack.system import mmdebstrap  # noqa: E402

OURS = CHECKOUT / "lammps" / "src"
HIP_SUITE = "forky"
HIP_PACKAGES = ("g++", "hipcc", "libamdhip64-dev", "librocthrust-dev", "libomp-dev")
LAMMPS_FILES = (
    "atom_kokkos",
    "atom_vec_atomic_kokkos",
    "atom_vec_full_kokkos",
    "comm_kokkos",
    "domain_kokkos",
    "fix_nh_kokkos",
    "fix_nve_kokkos",
    "kokkos",
    "nbin_kokkos",
    "neigh_list_kokkos",
    "neighbor_kokkos",
    "npair_copy_kokkos",
    "npair_kokkos",
    "npair_skip_kokkos",
    "pair_hybrid_kokkos",
    "verlet_kokkos",
)


@dataclass(frozen=True)
class Backend:
    """What Kokkos' build would write into its headers for a GPU."""

    name: str  # as in Kokkos' file names
    setup: str
    macros: dict[str, str]


CUDA = Backend(
    "CUDA",
    "Kokkos_Setup_Cuda.hpp",
    {"KOKKOS_ENABLE_CUDA": "", "KOKKOS_ARCH_HOPPER": "", "KOKKOS_ARCH_HOPPER90": "", "DESUL_ATOMICS_ENABLE_CUDA": ""},
)
HIP = Backend(
    "HIP",
    "Kokkos_Setup_HIP.hpp",
    {
        "KOKKOS_ENABLE_HIP": "",
        "KOKKOS_ENABLE_ROCTHRUST": "",
        "KOKKOS_ARCH_VEGA": "",
        "KOKKOS_ARCH_VEGA90A": "",
        "KOKKOS_ARCH_AMD_GFX90A": "",
        "KOKKOS_ARCH_AMD_GPU": '"gfx90a"',
        "DESUL_ATOMICS_ENABLE_HIP": "",
    },
)


def configured_headers(backend: Backend, kokkos: Path, target: Path) -> None:
    """Write the headers that depend on the backend: found before the others, they make them those of a GPU build."""
    (target / "desul" / "atomics").mkdir(parents=True, exist_ok=True)
    # LAMMPS asks for the older implementation of views where neighbor lists may exceed 2^31 entries.
    macros = backend.macros | {"KOKKOS_ENABLE_IMPL_VIEW_LEGACY": ""}
    for name in ("KokkosCore_config.h", "desul/atomics/Config.hpp"):
        text = (kokkos / name).read_text()
        for macro, value in macros.items():
            text = re.sub(rf"/\* #undef {macro} \*/", f"#define {macro} {value}".rstrip(), text)
        (target / name).write_text(text)
    # The host's backend first: the GPU's names it.
    declare = [f"#include <decl/Kokkos_Declare_{name}.hpp>" for name in ("OPENMP", backend.name)]
    forward = [f"#include <fwd/Kokkos_Fwd_{name}.hpp>" for name in ("OPENMP", backend.name)]
    for kind, lines in (("Declare", declare), ("Fwd", forward), ("Setup", [f"#include <setup/{backend.setup}>"])):
        (target / f"KokkosCore_Config_{kind}Backend.hpp").write_text("#pragma once\n" + "\n".join(lines) + "\n")


def nvcc() -> Path:
    """NVIDIA's compiler, of the version in recipes/stacks/cuda.yaml, in an environment of its own."""
    toolkit = recipe.load("cuda").toolkit
    packages = [f"{name}=={version}" for name, version in toolkit.packages.items()] if toolkit else []

    def make(place: Path) -> None:
        venv.create(place / "env", with_pip=True)
        run([place / "env" / "bin" / "python", "-m", "pip", "install", "--quiet", *packages])

    place = cached("cuda", digest(packages), "CUDA compiler", make)
    return next(place.glob("env/lib/python3*/site-packages/nvidia/*/bin/nvcc"))


def hip_root() -> Path:
    """A Debian system with AMD's compiler."""

    def make(place: Path) -> None:
        (place / "sources.list").write_text("".join(f"deb {line}\n" for line in source_lines([HIP_SUITE])))
        run(
            [
                *mmdebstrap(place),
                "--variant=minbase",
                "--format=tar",
                '--aptopt=Acquire::Check-Valid-Until "false"',
                f"--include={','.join(HIP_PACKAGES)}",
                '--customize-hook=touch "$1/etc/hosts" "$1/etc/resolv.conf"',
                HIP_SUITE,
                place / "root.tar",
                place / "sources.list",
            ]
        )
        (place / "root").mkdir()
        run(["tar", "-xf", place / "root.tar", "-C", place / "root", "--no-same-owner", "--exclude=./dev/*"])
        (place / "root.tar").unlink()

    return (
        cached("rootfs", f"hip-{digest(HIP_SUITE, HIP_PACKAGES)}", f"root filesystem (Debian {HIP_SUITE})", make)
        / "root"
    )


def main() -> int:
    """Compile one file after the other; the number of those that fail."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("backend", choices=("cuda", "hip"))
    parser.add_argument("--lammps", action="store_true", help="also the files of LAMMPS that our styles rest on")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="just these files, without the .cpp")
    args = parser.parse_args()

    stack = recipe.load("cpu")
    locked = lock.load(stack)
    fetch.fetch(locked)
    build = Build(stack, locked)
    source, root = build.source, build.toolchain / "root"
    kokkos = root / "usr" / "include" / "kokkos"
    backend = CUDA if args.backend == "cuda" else HIP
    work = cache_folder() / f"compile-{args.backend}"
    configured_headers(backend, kokkos, work / "headers")

    ours, theirs = sorted((OURS / "kokkos").glob("*.cpp")), []
    if args.lammps:
        theirs = [source / "src" / "KOKKOS" / f"{name}.cpp" for name in LAMMPS_FILES]
    files = [path for path in ours + theirs if not args.only or path.stem in args.only]

    includes = ["-I", str(work / "headers"), "-I", str(OURS), "-I", str(OURS / "kokkos")]
    for folder in (source / "src", source / "src" / "KOKKOS", kokkos, build.python / "include"):
        includes += ["-isystem", str(folder)]
    defines = ["-DLMP_KOKKOS", "-DLAMMPS_SMALLBIG", "-DLMP_KOKKOS_LAYOUT_LEGACY", "-DLMP_KOKKOS_DOUBLE_DOUBLE"]
    if args.backend == "cuda":
        system = root
        command = [str(nvcc()), "-x", "cu", "-arch=sm_90", "--extended-lambda", "--expt-relaxed-constexpr"]
        openmp, strict = ["-Xcompiler", "-fopenmp"], ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror"]
    else:
        system = hip_root()
        command = ["hipcc", "-x", "hip", "--offload-arch=gfx90a"]
        openmp, strict = ["-fopenmp"], ["-Wall", "-Wextra", "-Werror"]

    failures = 0
    for path in files:
        options = ["-std=c++20", "-O2", *openmp, *defines, *includes, *(strict if path in ours else ["-w"])]
        target = work / f"{path.stem}.o"
        line = [*command, *options, "-c", str(path), "-o", str(target)]
        before = os.times()
        done = subprocess.run(["nice", *enter(system, {}, line)], check=False)
        after = os.times()
        seconds = sum(after[2:4]) - sum(before[2:4])
        failures += done.returncode != 0
        outcome = f"{target.stat().st_size / 1e6:.1f} MB" if done.returncode == 0 else "FAILED"
        say(f"{backend.name} {path.name}: {outcome}, {seconds:.0f} s of processor time")
    say(f"{len(files) - failures} of {len(files)} files compile for {backend.name}; linking needs Kokkos built for it")
    return failures


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StackError as error:
        print(f"compile-gpu: {error}", file=sys.stderr)
        sys.exit(1)

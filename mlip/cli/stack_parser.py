"""The options of ``mlip stack``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from mlip.cli import stack_spack

EXAMPLES = """examples:
  mlip stack list                      the stacks
  mlip stack check                     does every stack fit together, and what has nobody tested
  mlip stack show cuda                 its versions, with sources and dates
  mlip stack diff rocm-6.2 rocm-7.1    what differs
  mlip stack lock cpu                  pin every file by its hash: recipes/locks/cpu.json
  mlip stack fetch cpu                 bring those files into the cache
  mlip stack build cpu                 image and Apptainer file, without a network
"""
Command = Callable[[str, str, str], argparse.ArgumentParser]
PARTS = ("system", "python", "lammps", "image", "sif")
SETS = ("runtime", "toolchain")


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip stack``."""
    p = argparse.ArgumentParser(
        prog="mlip stack",
        description="Sets of versions that fit each other, and the images made of them. Exit status: 0 done, 1 it "
        "could not be done, 2 wrong usage.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, example: str) -> argparse.ArgumentParser:
        """One subcommand."""
        return commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=f"example: mlip stack {example}"
        )

    _before_building(command)
    _building(command)
    return p


def _before_building(command: Command) -> None:
    """The options of what looks at recipes, locks them and fetches files."""
    one = command("list", "list the stacks", "list")
    one.add_argument("--json", action="store_true", help="machine-readable")

    one = command("show", "show the versions in a stack, with sources and dates", "show rocm-6.4")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--json", action="store_true", help="the whole merged recipe")

    one = command("check", "check recipes against recipes/compatibility.yaml", "check cuda")
    one.add_argument("names", metavar="NAME", nargs="*", help="all stacks by default")
    one.add_argument("--json", action="store_true", help="machine-readable")

    one = command("lock", "pin every file of a stack by its sha256 in recipes/locks/NAME.json", "lock cpu --update")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--update", action="store_true", help="take the newest versions, not those of the present lock")
    one.add_argument("--host", action="store_true", help="also record by content what is taken from this machine")

    one = command("fetch", "bring the files of a lock into the cache", "fetch cpu --bundle cpu.tar")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--sets", metavar="SET", nargs="+", choices=SETS, help="only those of " + " or ".join(SETS))
    either = one.add_mutually_exclusive_group()
    either.add_argument(
        "--bundle", metavar="FILE", type=Path, help="also write them to one file, for a site without network"
    )
    either.add_argument("--from-bundle", metavar="FILE", type=Path, help="take them from such a file")

    one = command("render", "write containers/NAME and spack/envs/NAME from the recipe", "render --check")
    one.add_argument("names", metavar="NAME", nargs="*", help="all stacks by default")
    one.add_argument("--check", action="store_true", help="write nothing; show what differs, and fail if anything does")


def _building(command: Command) -> None:
    """The options of what builds, tests and compares."""
    one = command("build", "build a stack from the cache, without a network", "build cpu --only image --engine podman")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--only", choices=PARTS, help="up to this part; sif takes the image that is there")
    one.add_argument("--engine", help="docker, podman or buildah; by default the one that is there (MLIP_ENGINE)")
    one.add_argument("--output", metavar="DIR", type=Path, help="where files are written (build/)")
    one.add_argument("--no-cache", action="store_true", help="let the engine make all parts anew")

    one = command(
        "test",
        "self-test, training, compiling and LAMMPS in an image or Apptainer file",
        "test cpu --sif",
    )
    one.add_argument("name", metavar="NAME")
    either = one.add_mutually_exclusive_group()
    either.add_argument("--sif", action="store_true", help="the Apptainer file build/mlip-NAME.sif")
    either.add_argument("--sif-file", metavar="FILE", type=Path, help="an Apptainer file that lies elsewhere")
    either.add_argument("--image", metavar="TAG", help="an image of the engine (mlip:NAME)")
    one.add_argument("--engine", help="docker, podman or buildah")

    one = command(
        "save", "write a stack's image as one file for docker load or podman load", "save cpu --output mlip-cpu.tar"
    )
    one.add_argument("name", metavar="NAME")
    one.add_argument("--output", metavar="FILE", type=Path, help="build/mlip-NAME.tar by default")
    one.add_argument("--engine", help="docker, podman or buildah")

    one = command(
        "reproduce",
        "build a stack as users get it and all anew, and compare byte by byte",
        "reproduce cpu --only python",
    )
    one.add_argument("name", metavar="NAME")
    one.add_argument("--only", choices=PARTS[:2], help="a part; by default image and Apptainer file, LAMMPS included")
    one.add_argument("--engine", help="docker, podman or buildah")

    one = command("diff", "show how two stacks differ, recipes and locks", "diff cpu cuda")
    one.add_argument("first", metavar="A")
    one.add_argument("second", metavar="B")
    one.add_argument("--json", action="store_true", help="machine-readable")

    one = command("sbom", "write a stack's bill of materials (SPDX) from its lock", "sbom cpu --output cpu.spdx.json")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--output", metavar="FILE", type=Path, help="standard output by default")

    stack_spack.add_options(command("spack", "a Spack environment for this machine", "spack cuda --output env"))

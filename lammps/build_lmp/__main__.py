# SPDX-License-Identifier: MIT
"""Build the LAMMPS of recipes/lammps.yaml with our pair styles in it (``make lmp``).

python lammps/build_lmp            build what is not in the cache yet; build/lmp leads to the result
python lammps/build_lmp --prepare  only what comes before compiling

The Python that runs this must have PyYAML and packaging: the project's environment has. Results lie in the cache
folder (MLIP_CACHE) under names that say what they were made from. LMP_SOURCES=upstream takes the projects' release
archives instead of Debian's, DEBIAN_MIRROR names the archive for the root filesystem, and MLIP_JOBS the number of
compilers at a time.
"""

from __future__ import annotations

import argparse
import sys

from compilation import lammps
from debian import root_filesystem
from python_environment import environment
from recipe import CHECKOUT, BuildError, load, say
from sources import lammps_sources


def main() -> int:
    """Build what is missing."""
    parser = argparse.ArgumentParser(prog="build_lmp", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prepare", action="store_true", help="make only what comes before compiling")
    args = parser.parse_args()
    try:
        recipe = load()
        source = lammps_sources(recipe)
        root = root_filesystem(recipe)
        packages = environment(recipe)
        if args.prepare:
            return 0
        tree = lammps(recipe, root, packages, source)
    except BuildError as error:
        print(f"make lmp: {error}", file=sys.stderr)
        return 1
    link = CHECKOUT / "build" / "lmp"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tree)
    say('ready: make lmp-run ARGS="-in in.lammps", or lammps/run-lmp -n 2 -in in.lammps')
    return 0


if __name__ == "__main__":
    sys.exit(main())

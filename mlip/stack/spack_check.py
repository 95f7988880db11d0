"""What can be said of spack/ without Spack: the form of its files, and that versions are those of recipes/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlip.stack import places, recipe, schema, shared_recipes, spack_environment, spack_package
from mlip.stack.errors import StackError
from mlip.stack.schema import Each, Keys, ListOf, MapOf, Scalar, Text
from mlip.stack.spack_package import Package

WORDS = Text(r".*\S.*", "a Spack spec")
LIST = ListOf(WORDS)
REQUIRE = MapOf(Keys(required={"require": LIST}))
# The keys of Spack's that are used here; Spack's own schema has more.
ENVIRONMENT = Keys(
    required={
        "spack": Keys(
            required={
                "specs": LIST,
                "include": LIST,
                "view": MapOf(Keys(required={"root": WORDS}, optional={"link": Text(choices=("all", "roots", "run"))})),
                "concretizer": Keys(
                    required={
                        "unify": Scalar(),
                        "reuse": Scalar(),
                        "targets": Keys(required={"host_compatible": Scalar()}),
                    }
                ),
                "packages": REQUIRE,
                "modules": Keys(
                    required={
                        "default": Keys(
                            required={
                                "enable": ListOf(Text(choices=("lmod", "tcl"))),
                                "roots": MapOf(WORDS),
                                "lmod": Keys(
                                    required={
                                        "hide_implicits": Scalar(),
                                        "hash_length": Scalar(),
                                        "core_compilers": LIST,
                                    },
                                    optional={spack_environment.PACKAGE: Keys(required={"autoload": WORDS})},
                                ),
                            }
                        )
                    }
                ),
            }
        )
    }
)
DEPENDENCY = Keys(required={"spec": WORDS, "deptypes": LIST})
EXTERNAL = Keys(
    required={
        "spec": Text(r"[a-z][a-z0-9-]*@\S+.*", "mpich@5.0.2"),
        "prefix": Text(r"/\S*", "a folder from the root on"),
    },
    optional={
        "dependencies": Each(DEPENDENCY),
        "extra_attributes": Keys(required={"compilers": MapOf(WORDS)}),
    },
)
MACHINE = Keys(
    required={"packages": MapOf(Keys(required={"buildable": Scalar()}, optional={"externals": Each(EXTERNAL)}))}
)
LOCK = "spack.lock"


def problems(root: Path | None = None) -> list[str]:
    """A sentence for everything in spack/ that is not as it should be; none where all is well.

    Args:
        root: the checkout; by default the one this package belongs to.
    """
    root = root or places.checkout()
    found = list(_of_environments(root))
    for folder in sorted((root / "spack" / "repo" / "spack_repo" / "mlip" / "packages").glob("[!_.]*")):
        try:
            package = spack_package.read(folder / "package.py")
        except StackError as error:
            found.append(str(error))
            continue
        found += package.problems
        found += _of_versions(package, root)
    return found


def _of_environments(root: Path) -> Iterator[str]:
    """What is wrong with spack/envs."""
    folder = root / "spack" / "envs"
    stacks = {name: recipe.load(name, root) for name in recipe.names(root)}
    for name in sorted({path.name for path in folder.iterdir()} - stacks.keys()):
        yield f"spack/envs/{name}: there is no recipes/stacks/{name}.yaml; remove the folder"
    for name, stack in stacks.items():
        for path, text in spack_environment.rendered(stack, root).items():
            where = path.relative_to(root)
            if not path.is_file():
                yield f"{where} is missing: mlip stack render {name}"
            elif path.read_text(encoding="utf-8") != text:
                yield f"{where} is not what the recipe says: mlip stack render {name}"
        for file, form in (("spack.yaml", ENVIRONMENT), ("machine.yaml", MACHINE)):
            if (folder / name / file).is_file():
                yield from _of_form(folder / name / file, form)
        if (folder / name / LOCK).is_file():
            yield from _of_lock(folder / name / LOCK, spack_environment.root_spec(stack, root))


def _of_form(file: Path, form: Keys) -> Iterator[str]:
    """What is wrong with the form of a YAML file."""
    try:
        document = schema.read(file)
        form.check(document.value, (), document.place)
    except StackError as error:
        yield str(error)


def _of_lock(file: Path, spec: str) -> Iterator[str]:
    """What is wrong with a spack.lock, as far as it can be told without Spack."""
    where = "/".join(file.parts[-4:])
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if (kind := content["_meta"]["file-type"]) != "spack-lockfile":
        yield f"{where}: is a {kind}, not a spack-lockfile"
    if [_words(entry["spec"]) for entry in content["roots"]] != [_words(spec)]:
        yield f"{where}: is of another spack.yaml: make spack-lock writes it anew, where SPACK_ROOT is set"


def _words(spec: str) -> list[str]:
    """A spec's parts in one order, however they were written together."""
    return sorted(re.sub(r"([+~@])", r" \1", spec).split())


def _of_versions(package: Package, root: Path) -> Iterator[str]:
    """What in a package contradicts recipes/, requirements/ or pyproject.toml."""
    if package.name == "lammps-mlip":
        yield from _of_lammps(package, root)
    elif package.name == "py-mlip":
        yield from _of_mlip(package, root)
    else:
        yield from _of_python(package, (root / "requirements" / "cpu.txt").read_text(encoding="utf-8"))


def _of_lammps(package: Package, root: Path) -> Iterator[str]:
    """LAMMPS' versions and hashes are those of recipes/lammps.yaml; those of release archives are Spack's own."""
    sources = {name: entry["lammps"] for name, entry in shared_recipes.lammps(root)["sources"].items()}
    known = {entry["version"].split("+")[0]: entry["sha256"] for entry in sources.values() if "url" not in entry}
    if package.versions != known:
        yield f"{package.where}: has LAMMPS {package.versions}, recipes/lammps.yaml has {known}"


def _of_python(package: Package, requirements: str) -> Iterator[str]:
    """A Python package's version and hash are in requirements/cpu.txt."""
    name = package.name.removeprefix("py-")
    for version, sha256 in package.versions.items():
        entry = re.search(rf"(?m)^{re.escape(name)}==(\S+).*\n(?:    --hash.*\n?)+", requirements)
        if entry is None:
            yield f"{package.where}: {name} is not in requirements/cpu.txt"
        elif entry[1] != version:
            yield f"{package.where}: has {name} {version}, requirements/cpu.txt has {entry[1]}"
        elif sha256 not in entry[0]:
            yield f"{package.where}: the sha256 of {name} {version} is not one of requirements/cpu.txt"


def _of_mlip(package: Package, root: Path) -> Iterator[str]:
    """Our own version and requirements are those of pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'(?m)^version = "(.+)"', text)
    if version and [version[1]] != list(package.versions):
        yield f"{package.where}: has version {', '.join(package.versions)}, pyproject.toml has {version[1]}"
    block = re.search(r"(?ms)^dependencies = \[(.*?)^\]", text)
    names = [re.split(r"[^\w.-]", word)[0] for word in re.findall(r'(?m)^\s*"(.+?)"', block[1])] if block else []
    wanted = {f"py-{name.lower().replace('_', '-')}" for name in names}
    present = {spec.split("@")[0] for spec in package.dependencies if spec.startswith("py-")} - {"py-setuptools"}
    for name in sorted(wanted ^ present):
        place, other = ("pyproject.toml", "package.py") if name in wanted else ("package.py", "pyproject.toml")
        yield f"{package.where}: {name} is in {place} and not in {other}"

"""The rules of the house: which part may import which, how large a file may be, what no file may contain."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mlip"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the others; each may import itself, mlip.graph (the two records of tensors),
# mlip.cutoffs, which data and models share, and mlip.torch_versions.
# Imports point one way: cli -> {training, deploy, integrations, stack} -> models -> nn; data beside models; report,
# which makes figures of numbers, above data.
ALLOWED = {
    "graph": set(),
    "cutoffs": set(),
    "torch_versions": set(),
    "nn": set(),
    "models": {"nn"},
    "data": {"config"},
    "report": {"data"},
    "training": {"config", "data", "deploy", "models", "nn", "report"},
    "deploy": {"data", "models", "nn"},
    "integrations": {"data", "deploy", "models", "nn"},
    "config": set(),  # its table of public names says where classes are, as text
    "stack": set(),
    "jobs": {"stack"},
    "cli": {"config", "data", "deploy", "integrations", "jobs", "models", "nn", "report", "stack", "training"},
}
FORBIDDEN_OUTSIDE = {
    "nn": {"ase", "hydra", "lightning", "omegaconf", "pytorch_lightning"},
    "models": {"ase", "hydra", "lightning", "omegaconf", "pytorch_lightning"},
    "stack": {"e3nn", "hydra", "lightning", "torch"},
    "jobs": {"e3nn", "hydra", "lightning", "torch"},
}

EXCEPTIONS = {
    # an exception class without imports of its own, so that errors of the data pass through instantiate unchanged
    ("config", "mlip.data.errors.DataError"),
}

MAX_LINES = 400
LONGER: dict[str, str] = {}  # path: why it may be longer

SECONDS_BEYOND_PYTHON = 0.1


def part_of(path: Path) -> str:
    """The first-level part of the package that a file belongs to."""
    inner = path.relative_to(PACKAGE).parts
    return inner[0] if len(inner) > 1 else path.stem


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, imported module, whether it happens when the file is imported) of a source file."""
    tree = ast.parse(path.read_text())
    package = ("mlip", *path.relative_to(PACKAGE).parts[:-1])

    def visit(node: ast.AST, *, at_import: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from visit(other, at_import=at_import)
            elif isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else ()
                module = ".".join([*base, *([child.module] if child.module else [])])
                yield from ((child.lineno, f"{module}.{alias.name}", at_import) for alias in child.names)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
                yield from visit(child, at_import=at_import and not inside)

    yield from visit(tree, at_import=True)


def violations(path: Path) -> list[str]:
    """What a file imports against the rules."""
    part = part_of(path)
    if part == "__init__":
        return []
    found = []
    for line, module, _ in imports(path):
        parts = module.split(".")
        if parts[0] != "mlip":
            if parts[0] in FORBIDDEN_OUTSIDE.get(part, set()):
                found.append(f"{path.relative_to(ROOT)}:{line} {part} must not import {parts[0]}")
        elif (
            len(parts) > 1
            and (part, module) not in EXCEPTIONS
            and parts[1] not in {part, "graph", "cutoffs", "torch_versions", *ALLOWED.get(part, set())}
        ):
            found.append(f"{path.relative_to(ROOT)}:{line} {part} must not import mlip.{parts[1]}")
    return found


def test_every_part_has_a_rule() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders <= set(ALLOWED), "add the part and what it may import to ALLOWED, if it belongs in the house"


def test_imports_point_one_way() -> None:
    found = [violation for path in SOURCES for violation in violations(path)]
    assert not found, "\n".join(found)


def test_one_module_knows_what_versions_of_torch_differ_in() -> None:
    asking = re.compile(r"hasattr\(torch|torch\.__version__\s*[<>=]|TorchVersion|signature\(torch")
    found = [path for path in SOURCES if path.stem != "torch_versions" and asking.search(path.read_text())]
    assert not found, f"{found}: put the difference into mlip/torch_versions.py"


def test_the_rules_have_no_cycle_below_the_command_line() -> None:
    order = ["graph", "nn", "models", "config", "data", "report", "deploy", "training", "cli"]
    for position, part in enumerate(order):
        above = set(order[position + 1 :])
        assert not ALLOWED[part] & above, f"{part} may import something above it"


def test_parts_import_nothing_in_circles() -> None:
    """Importing any part on its own works, and importing mathematics loads no training code."""
    code = (
        "import sys, mlip.models; "
        "loaded = {'lightning', 'hydra', 'ase', 'mlip.training', 'mlip.data'} & set(sys.modules); "
        "sys.exit(f'mlip.models loads {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def seconds_of(code: str) -> float:
    """The shortest of several runs of a new Python."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def test_import_of_the_package_is_instant() -> None:
    subprocess.run([sys.executable, "-c", "import mlip, sys; sys.exit('torch' in sys.modules)"], check=True)
    assert seconds_of("import mlip") - seconds_of("pass") < SECONDS_BEYOND_PYTHON


@pytest.mark.parametrize("folder", ["mlip", "tests", "benchmarks", "requirements", "lammps"])
def test_files_stay_readable(folder: str) -> None:
    kinds = {".py", ".cpp", ".h"}
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds
    }
    too_long = {path: lines for path, lines in lengths.items() if lines > MAX_LINES and path not in LONGER}
    assert not too_long, f"more than {MAX_LINES} lines: split them, or say in LONGER why not"


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    found = [str(path.relative_to(ROOT)) for path in SOURCES if path.stem in drawers or path.parent.name in drawers]
    assert not found, "name files after what they hold"


def tracked_files() -> list[Path]:
    """What git tracks or would track."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: the list of tracked files is unknown")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_machine() -> None:
    # Put together here, so that this file passes its own test.
    hosts = ["py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", "conda.ana" + "conda.org"]
    folders = ["/ho" + "me/", "/ro" + "ot/", "/tm" + "p/w/", "/wo" + "rk/", "/op" + "t/wheels"]
    pattern = re.compile("|".join(map(re.escape, [*hosts, *folders])))
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content[:4096]:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_locks_are_complete() -> None:
    for name in ("cpu", "peer"):
        text = (ROOT / f"requirements/{name}.txt").read_text()
        assert "--index" not in text
        assert not re.search(r"(?m)^(nvidia-|triton|cuda-)", text), "libraries for GPUs do not belong in it"
        entries = re.split(r"(?m)^(?=[a-z])", text)[1:]
        bare = [entry.splitlines()[0] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
        assert not bare, "without a version or without hashes; `make lock` writes both"

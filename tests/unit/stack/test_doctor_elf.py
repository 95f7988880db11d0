"""What files say about themselves, and which libraries the dynamic loader takes for a program."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mlip.stack.doctor.elf import NotElf, elf_or_none, gpu_architectures, read_elf
from mlip.stack.doctor.loader import libraries_of

from .small_libraries import clean_environment, library, needs_compiler, program

pytestmark = needs_compiler
MAIN = "int main(void) { return 0; }\n"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    clean_environment(monkeypatch)


def test_a_library_names_itself_and_what_it_needs(tmp_path: Path) -> None:
    mpi = library(tmp_path, "libmpi.so.12")
    other = library(tmp_path, "libother.so.1", links=[mpi], flags=["-Wl,-rpath,$ORIGIN/lib:/opt/lib"])
    elf = read_elf(other)
    assert elf.soname == "libother.so.1"
    assert "libmpi.so.12" in elf.needed
    assert elf.runpath + elf.rpath == ("$ORIGIN/lib", "/opt/lib")
    assert not elf.executable_stack


def test_an_executable_stack_is_seen(tmp_path: Path) -> None:
    assert read_elf(library(tmp_path, "libold.so", flags=["-Wl,-z,execstack"])).executable_stack


@pytest.mark.parametrize("abi", [0, 1])
def test_the_abi_of_strings_is_seen(tmp_path: Path, abi: int) -> None:
    code = "#include <string>\nvoid f(std::string &s) { s.append(3, 'x'); s.reserve(99); s.insert(0, \"y\"); }\n"
    code = f"#define _GLIBCXX_USE_CXX11_ABI {abi}\n{code}"
    built = library(tmp_path, "liblammps.so.0", code=code, flags=["-O0"])
    assert read_elf(built).string_abi == abi


def test_a_library_without_strings_has_no_abi(tmp_path: Path) -> None:
    assert read_elf(library(tmp_path, "libplain.so")).string_abi is None


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + b"\xff" * 200])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert elf_or_none(file) is None
    assert gpu_architectures(file) == set()
    with pytest.raises(NotElf, match="file"):
        read_elf(file)


def fat_binary(*entries: tuple[int, int]) -> bytes:
    """CUDA's container of (kind, architecture), each with a few bytes of code."""
    body = b"".join(
        struct.pack("<HHIQIIHHI", kind, 257, 64, 8, 0, 0, 0, 0, architecture) + b"\0" * 32 + b"code" * 2
        for kind, architecture in entries
    )
    return b"\x50\xed\x55\xba" + struct.pack("<HHQ", 1, 16, len(body)) + body


def with_section(folder: Path, name: str, content: bytes) -> Path:
    values = ",".join(str(byte) for byte in content)
    code = f'__attribute__((section("{name}"))) const unsigned char gpu_code[] = {{{values}}};\n'
    return library(folder, "libgpu.so", code=code)


def test_cuda_code_says_what_it_is_for(tmp_path: Path) -> None:
    content = fat_binary((2, 80), (2, 90), (1, 90)) + b"\0" * 8 + fat_binary((2, 100))
    assert gpu_architectures(with_section(tmp_path, ".nv_fatbin", content)) == {
        "sm_80",
        "sm_90",
        "compute_90",
        "sm_100",
    }


def test_hip_code_says_what_it_is_for(tmp_path: Path) -> None:
    content = b"__CLANG_OFFLOAD_BUNDLE__\0host-x86_64-unknown-linux\0hipv4-amdgcn-amd-amdhsa--gfx90a\0"
    assert gpu_architectures(with_section(tmp_path, ".hip_fatbin", content)) == {"gfx90a"}


def test_a_library_for_processors_has_no_gpu_code(tmp_path: Path) -> None:
    assert gpu_architectures(library(tmp_path, "libplain.so")) == set()


# The loader's rules -------------------------------------------------------------------------------------------------


def two_places(folder: Path) -> tuple[Path, Path]:
    return library(folder / "one", "libmpi.so.12"), library(folder / "two", "libmpi.so.12")


def test_runpath_comes_after_the_library_path(tmp_path: Path) -> None:
    one, two = two_places(tmp_path)
    lmp = program(tmp_path / "lmp", MAIN, links=[one], flags=[f"-Wl,--enable-new-dtags,-rpath,{one.parent}"])
    assert libraries_of(lmp).found["libmpi.so.12"] == one
    assert libraries_of(lmp, [str(two.parent)]).found["libmpi.so.12"] == two


def test_rpath_comes_before_the_library_path_and_serves_what_is_below(tmp_path: Path) -> None:
    one, two = two_places(tmp_path)
    liblammps = library(tmp_path / "lib", "liblammps.so.0", links=[one])
    flags = [f"-Wl,--disable-new-dtags,-rpath,{liblammps.parent}:{one.parent}"]
    lmp = program(tmp_path / "lmp", MAIN, links=[liblammps], flags=flags)
    assert libraries_of(lmp, [str(two.parent)]).found["libmpi.so.12"] == one


def test_runpath_does_not_serve_what_is_below(tmp_path: Path) -> None:
    one, _ = two_places(tmp_path)
    liblammps = library(tmp_path / "lib", "liblammps.so.0", links=[one])
    flags = [f"-Wl,--enable-new-dtags,-rpath,{liblammps.parent}:{one.parent}"]
    lmp = program(tmp_path / "lmp", MAIN, links=[liblammps], flags=flags)
    found = libraries_of(lmp)
    assert found.missing == {"libmpi.so.12": liblammps}


def test_origin_is_the_folder_of_the_file(tmp_path: Path) -> None:
    mpi = library(tmp_path / "env" / "lib", "libmpi.so.12")
    lmp = program(tmp_path / "env" / "bin" / "lmp", MAIN, links=[mpi], flags=["-Wl,-rpath,$ORIGIN/../lib"])
    assert libraries_of(lmp).found["libmpi.so.12"].resolve() == mpi


def test_the_loader_itself_agrees() -> None:
    """On a real program: Python."""
    listed = subprocess.run(["ldd", sys.executable], capture_output=True, text=True, check=True).stdout
    expected = {name: Path(path).resolve() for name, path in re.findall(r"(\S+) => (/\S+)", listed)}
    found = libraries_of(Path(sys.executable).resolve())
    assert not found.missing
    assert {name: found.found[name].resolve() for name in expected} == expected

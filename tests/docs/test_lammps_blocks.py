"""LAMMPS input in the documentation: commands exist, and lines of our styles are what the styles read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from docs.generated_pages import option_values, registered_styles
from tests.docs.pages import Block, blocks

LAMMPS = blocks("lammps")
# The commands of LAMMPS that inputs for these models use.
COMMANDS = set(
    re.findall(
        r"\w+",
        """atom_modify atom_style boundary box change_box comm_modify comm_style compute create_atoms create_box
        delete_atoms dihedral_style displace_atoms dump dump_modify fix fix_modify group if improper_style include info
        jump kspace_style label lattice log mass minimize minimize_style min_style neigh_modify neighbor newton next
        package pair_coeff pair_modify pair_style partition plugin print processors quit read_data read_restart region
        replicate reset_timestep restart run set shell special_bonds suffix thermo thermo_modify thermo_style timestep
        uncompute undump unfix units variable velocity write_data write_dump write_restart""",
    )
)
STYLES = registered_styles()


def lines(block: Block) -> Iterator[list[str]]:
    """The words of each line, continued ones joined, without comments."""
    text = re.sub(r"&\s*\n", " ", block.text)
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words and words != ["..."]:
            yield words


@pytest.mark.parametrize("block", LAMMPS, ids=str)
def test_commands_exist(block: Block) -> None:
    unknown = [words[0] for words in lines(block) if words[0] not in COMMANDS and "|" not in words[0]]
    assert not unknown


@pytest.mark.parametrize("block", LAMMPS, ids=str)
def test_styles_take_these_options(block: Block) -> None:
    values = option_values()
    for words in lines(block):
        if words[0] != "pair_style" or words[1] not in STYLES or words[2:] == ["[keyword", "value", "...]"]:
            continue
        for name, value in zip(words[2::2], words[3::2], strict=True):
            assert name in values, f"{block}: {words[1]} has no option {name}"
            assert value in values[name] or value.isdigit(), f"{block}: {name} cannot be {value}"


@pytest.mark.parametrize("block", LAMMPS, ids=str)
def test_our_pair_coeff_lines_name_a_file_and_types(block: Block) -> None:
    styles = [words[1] for words in lines(block) if words[0] == "pair_style"]
    for words in lines(block):
        if words[0] == "pair_coeff" and styles and styles[-1] in STYLES:
            assert words[1:3] == ["*", "*"]
            assert "FILE" in words[3] or re.search(r"\.nequip\.(pt2|pth)$|^\$\{\w+\}$", words[3])
            assert len(words) > 4, "names of types follow the file"

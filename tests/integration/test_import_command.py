"""``mlip import`` and ``mlip export-reference``, and other commands with files of the reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlip.cli.export_reference import CONTRACT, check_contract
from mlip.cli.export_reference import main as export_reference
from mlip.cli.main import main
from mlip.deploy.errors import CompileError
from mlip.deploy.load import load_compiled
from mlip.deploy.model_source import load_model
from mlip.deploy.reference_import import import_reference
from mlip.deploy.targets import TARGETS

GOLDEN = Path(__file__).parents[1] / "conformance/golden_import"
CHECKPOINT = GOLDEN / "nequip_zbl_ema.ckpt"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one sentence a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    message = str(stopped.value.code)
    assert "\n" not in message
    assert "Traceback" not in capsys.readouterr().err
    return message


@pytest.mark.parametrize("name", ["ours.nequip.zip", "ours.ckpt"])
def test_import_writes_a_file_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    main(["import", str(CHECKPOINT), str(tmp_path / name)])
    assert "NequIPGNNModel, float64, types Cu Au, r_max 4.5 Å" in capsys.readouterr().out
    expected, _ = import_reference(CHECKPOINT)
    loaded = load_model(tmp_path / name)
    assert loaded.config == expected.config
    for key, tensor in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_import_refuses_what_makes_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = tmp_path / "ours.ckpt"
    main(["import", str(CHECKPOINT), str(ours)])
    assert "must end with .nequip.zip or .ckpt" in refusal(capsys, "import", CHECKPOINT, tmp_path / "model.pth")
    assert "is a file of mlip already" in refusal(capsys, "import", ours, tmp_path / "again.ckpt")
    assert "is the input" in refusal(capsys, "import", ours, ours)
    assert "no such file" in refusal(capsys, "import", tmp_path / "none.ckpt", tmp_path / "again.ckpt")
    assert "no model 'second'" in refusal(capsys, "import", CHECKPOINT, tmp_path / "b.ckpt", "--model", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["ours.ckpt"]


def test_nequip_compile_takes_a_checkpoint_of_the_reference(tmp_path: Path) -> None:
    from mlip.cli.compile import main as nequip_compile

    output = tmp_path / "model.nequip.pth"
    options = ["--mode", "torchscript", "--device", "cpu", "--target", "ase"]
    nequip_compile([str(CHECKPOINT), str(output), *options])
    assert load_compiled(output).metadata.type_names == ["Cu", "Au"]


def test_a_model_trains_further_from_a_checkpoint_of_the_reference() -> None:
    from mlip.training.finetuning import build_trainable_model

    section = {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": str(CHECKPOINT)}
    expected, _ = import_reference(CHECKPOINT)
    potential = build_trainable_model(section)
    for key, tensor in expected.state_dict().items():
        assert torch.equal(potential.state_dict()[key], tensor)


def test_export_refuses_another_suffix_before_it_reads(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"must end with \.nequip\.pt2"):
        export_reference([str(tmp_path / "none.ckpt"), str(tmp_path / "model.nequip.pth")])


def test_export_checks_what_the_framework_asks_for() -> None:
    target = TARGETS["ase"]
    strings = dict.fromkeys(CONTRACT, "0")
    strings |= {"nequip_aoti_inputs": " ".join(target.inputs), "nequip_aoti_outputs": " ".join(target.outputs)}
    check_contract(strings, target.inputs, target.outputs)
    with pytest.raises(CompileError, match="lacks num_types"):
        check_contract({k: v for k, v in strings.items() if k != "num_types"}, target.inputs, target.outputs)
    with pytest.raises(CompileError, match="nequip_aoti_outputs"):
        check_contract(strings | {"nequip_aoti_outputs": "forces"}, target.inputs, target.outputs)

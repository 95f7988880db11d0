"""Write golden_import anew: small checkpoints of the reference and what it computes with them.

    python -m tests.conformance.make_golden_import PEER_PYTHON [PACKAGES_OF_0.9]

A checkpoint keeps what importing needs and loses the state of its training, which says where it ran.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ase.io import write

from tests.conformance.reference_results import structures
from tests.conformance.trained_models import NEWEST, TRAINED, Peer

FOLDER = Path(__file__).parent / "golden_import"
GOLDEN = ("nequip_zbl_ema", "nequip_all_trainable_ema", "allegro_spline_float32", "nequip_2025_lists_zbl_ema")
KEPT = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "hparams_name", "hyper_parameters")


def main(python: Path, overlay: Path | None = None) -> None:
    """Train, strip, evaluate and write."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "structures.traj", structures())
        for name in GOLDEN:
            trained = TRAINED[name]
            peer = Peer(python) if trained.version == NEWEST else Peer(python, trained.version, overlay)
            checkpoint = peer.train(folder / name, trained)
            results = peer.evaluate(folder, [checkpoint], folder / "structures.traj")[str(checkpoint)]
            contents = torch.load(checkpoint, weights_only=True)
            contents = {key: contents[key] for key in KEPT}
            contents["hyper_parameters"]["info_dict"].pop("trainer")
            torch.save(contents, FOLDER / f"{name}.ckpt")
            numbers = {f"{kind}_{i}": np.array(r[k]) for i, r in enumerate(results) for k, kind in enumerate(_KINDS)}
            np.savez_compressed(FOLDER / f"{name}.npz", **numbers)
            print(f"{name}: {(FOLDER / f'{name}.ckpt').stat().st_size} bytes")


_KINDS = ("energies", "forces")

if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

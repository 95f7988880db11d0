"""Write the golden files of the newest versions: ``python -m tests.golden_model_files.make``.

To be run once, when a format has a new version; files that are there are left as they are. A checkpoint is that of an
older version, upgraded and written again, so that all versions hold the same.
"""

from __future__ import annotations

from mlip.data.atomic_file import atomic_file
from mlip.deploy.checkpoint import describe, read_checkpoint, write_checkpoint
from mlip.deploy.package import package_of_checkpoint, write_package
from mlip.deploy.upgrades import CHECKPOINT_VERSION, PACKAGE_VERSION
from tests.golden_model_files import FOLDER


def main() -> None:
    """Write what is missing."""
    contents = read_checkpoint(FOLDER / "checkpoint-1.ckpt")
    checkpoint = FOLDER / f"checkpoint-{CHECKPOINT_VERSION}.ckpt"
    if not checkpoint.exists():
        written = contents["mlip"]
        renewed = {**written, "format_version": CHECKPOINT_VERSION, "units": describe(object)["units"]}
        with atomic_file(checkpoint) as partial, partial.open("wb") as file:
            write_checkpoint({**contents, "mlip": renewed}, file)
        print(f"{checkpoint.name}: {checkpoint.stat().st_size} bytes")
    package = FOLDER / f"package-{PACKAGE_VERSION}.nequip.zip"
    if not package.exists():
        write_package(package_of_checkpoint(contents, checkpoint.name), package)
        print(f"{package.name}: {package.stat().st_size} bytes")


if __name__ == "__main__":
    main()

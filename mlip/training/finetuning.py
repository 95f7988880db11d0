"""Models that start from trained weights, and changes to models: what stands under ``training_module.model``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.deploy.acceleration_names import ACCELERATIONS

if TYPE_CHECKING:
    from mlip.models import Potential

Config = Mapping[str, Any]
MODIFIERS = ("modify_PerTypeScaleShift", "enable_ForceStressOutput", "disable_ForceStressOutput", *ACCELERATIONS)


def build_trainable_model(config: Config) -> Potential:
    """A potential from the ``model`` section: a new one, one with trained weights, or a changed one.

    Raises:
        ConfigError: a section that does not fit.
        ValueError: a parameter of a new model that does not.
    """
    from mlip.models import build_model

    name = str(config.get("_target_", "")).rpartition(".")[2]
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    sources: dict[str, Callable[..., Potential]] = {
        "ModelFromCheckpoint": model_from_checkpoint,
        "ModelFromPackage": model_from_package,
        "modify": modify,
    }
    if name in sources:
        try:
            return sources[name](**arguments)
        except TypeError as error:
            raise ConfigError(f"training_module.model: {error}") from error
    return build_model(dict(config))


def model_from_checkpoint(checkpoint_path: str, compile_mode: str = "eager") -> Potential:
    """The model of a checkpoint, with its averaged weights where it has them, to be trained further.

    Args:
        checkpoint_path: a ``.ckpt`` file, of this or the NequIP framework.
        compile_mode: ``eager`` or ``compile``.
    """
    return _trained(checkpoint_path, compile_mode)


def model_from_package(package_path: str, compile_mode: str = "eager") -> Potential:
    """The model of a package, to be trained further.

    Args:
        package_path: a ``.nequip.zip`` file, of this or the NequIP framework, or ``nequip.net:GROUP/NAME:VERSION``.
        compile_mode: ``eager`` or ``compile``.
    """
    return _trained(package_path, compile_mode)


def _trained(source: str, compile_mode: str) -> Potential:
    from mlip.deploy.errors import StoredModelError
    from mlip.deploy.model_source import load_model

    try:
        trained = load_model(source)
    except StoredModelError as error:
        raise ConfigError(f"training_module.model: {error}") from error
    return rebuilt(trained, compile_mode=compile_mode)


def starting_file(config: Config) -> str | None:
    """The file whose weights a ``model`` section starts from; None for a new model."""
    name = str(config.get("_target_", "")).rpartition(".")[2]
    if name == "modify":
        inner = config.get("model")
        return starting_file(inner) if isinstance(inner, Mapping) else None
    key = {"ModelFromCheckpoint": "checkpoint_path", "ModelFromPackage": "package_path"}.get(name)
    return str(config[key]) if key is not None and config.get(key) else None


def modify(modifiers: Sequence[Mapping[str, Any]], model: Config) -> Potential:
    """A changed model.

    Args:
        modifiers: changes in order, each ``{modifier: NAME, ...arguments}``: ``modify_PerTypeScaleShift`` (scales,
            shifts, scales_trainable, shifts_trainable), ``enable_ForceStressOutput``, ``disable_ForceStressOutput``;
            those that only accelerate come last, and stay without effect where they cannot run.
        model: section of the model to change.
    """
    potential = build_trainable_model(model)
    try:
        return apply_modifiers(potential, modifiers)
    except ConfigError as error:
        raise ConfigError(f"training_module.model.modifiers: {error}") from error


def apply_modifiers(
    potential: Potential, modifiers: Sequence[Mapping[str, Any]], device: str | None = None
) -> Potential:
    """A potential changed by modifiers in order, each ``{modifier: NAME, ...arguments}``, see :func:`modify`.

    Args:
        potential: what to change.
        modifiers: the changes; those that only accelerate are applied after the others.
        device: what the potential will run on; None if that is not known yet.

    Raises:
        ConfigError: an unknown modifier, arguments that do not fit, or an acceleration that gives wrong numbers.
    """
    accelerations: list[str] = []
    for entry in modifiers:
        arguments = dict(entry)
        name = str(arguments.pop("modifier", ""))
        if name not in MODIFIERS:
            from mlip.config.targets import nearest

            raise ConfigError(
                f"unknown modifier {name!r}{nearest(name, list(MODIFIERS))}; known are {', '.join(MODIFIERS)}"
            )
        if name in ACCELERATIONS:
            accelerations.append(name)
        elif name == "modify_PerTypeScaleShift":
            potential = _with_scale_shift(potential, **_known_arguments(arguments))
        else:
            potential = rebuilt(potential, do_derivatives=name == "enable_ForceStressOutput")
    return _accelerated(potential, accelerations, device) if accelerations else potential


def _accelerated(potential: Potential, names: Sequence[str], device: str | None) -> Potential:
    from mlip.deploy.acceleration import AccelerationError, accelerate

    try:
        return accelerate(potential, names, device)
    except AccelerationError as error:
        raise ConfigError(str(error)) from error


def _known_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    known = ("scales", "shifts", "scales_trainable", "shifts_trainable")
    for key in arguments:
        if key not in known:
            raise ConfigError(f"modify_PerTypeScaleShift has no {key!r}; it takes {', '.join(known)}")
    return arguments


def _with_scale_shift(
    potential: Potential,
    scales: Any = None,
    shifts: Any = None,
    scales_trainable: bool = False,
    shifts_trainable: bool = False,
) -> Potential:
    """The potential with other per-type scales and shifts; dictionaries change only the types they name."""
    state = potential.state_dict()
    changes: dict[str, Any] = {}
    for kind, value in (("scales", scales), ("shifts", shifts)):
        before = _per_type_values(state, kind, potential.type_names)
        given = value
        if isinstance(value, Mapping):
            unknown = [name for name in value if name not in potential.type_names]
            if unknown:
                raise ConfigError(
                    f"modify_PerTypeScaleShift: {kind} name {unknown}, the model's types are {potential.type_names}"
                )
            neutral = 1.0 if kind == "scales" else 0.0
            given = {**(before or dict.fromkeys(potential.type_names, neutral)), **value}
        changes[f"per_type_energy_{kind}"] = before if given is None else given
    changes["per_type_energy_scales_trainable"] = scales_trainable
    changes["per_type_energy_shifts_trainable"] = shifts_trainable
    return rebuilt(potential, **changes)


def _per_type_values(state: Mapping[str, Any], kind: str, type_names: Sequence[str]) -> dict[str, float] | None:
    values = state.get(f"scale_shift.{kind}")
    if values is None or not values.numel():
        return None
    return dict(zip(type_names, values.flatten().tolist(), strict=True))


def rebuilt(potential: Potential, **changes: Any) -> Potential:
    """A new potential with the weights of ``potential`` and some parameters changed."""
    from mlip.models import build_model

    known = {key: value for key, value in changes.items() if key in potential.config or key == "compile_mode"}
    missing = [key for key in changes if key not in known]
    if missing:
        raise ConfigError(f"training_module.model: {potential.config['_target_']} has no {', '.join(missing)}")
    try:
        new = build_model({**potential.config, **known})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    fresh = new.state_dict()
    weights = dict(potential.state_dict())
    for key in [key for key in weights if key.startswith("scale_shift.")]:
        del weights[key]
    changed = {key: value for key, value in fresh.items() if key.startswith("scale_shift.")}
    if not any(key.startswith("per_type_energy_") for key in changes):
        changed |= {key: value for key, value in potential.state_dict().items() if key in changed}
    new.load_state_dict({**weights, **changed})
    return new

"""A job: a site's profile, a stack and a user's wishes, as what the templates show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlip.jobs import profile
from mlip.stack import recipe
from mlip.stack.errors import StackError
from mlip.stack.recipe import Stack
from mlip.stack.schema import Document, KeyPath, dotted

ANY = "any"
PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+)\}")


@dataclass(frozen=True)
class Wishes:
    """What a user asks for; None is the profile's own.

    Attributes:
        site: name of the profile.
        kind: train, md or compile; any: the settings of all, for work by hand.
        runtime: container or spack.
        nodes: number of nodes.
        time: wall time as Slurm writes it.
        account: project that pays; sbatch's own default where it is not given.
        partition: in place of the profile's.
        stack: name of a stack.
        backend: of distributed training, gloo or nccl.
        ranks_per_node: where nodes have no GPUs; one for each GPU elsewhere.
    """

    site: str
    kind: str = "train"
    runtime: str = "container"
    nodes: int = 1
    time: str | None = None
    account: str | None = None
    partition: str | None = None
    stack: str | None = None
    backend: str | None = None
    ranks_per_node: int | None = None


@dataclass(frozen=True)
class Setting:
    """One thing that a script sets, with its reason and source.

    Attributes:
        what: where it appears: batch option, srun option, module, variable, cache, bind, container option or variable.
        name: of the variable or option; empty for what has none.
        value: as a shell reads it.
        reason: why.
        source: who says so, a key of the profile's sources.
    """

    what: str
    name: str
    value: str
    reason: str
    source: str


@dataclass(frozen=True)
class Job:
    """What the templates see."""

    wishes: Wishes
    stack: Stack
    profile: Mapping[str, Any] = field(repr=False)
    backend: str
    settings: tuple[Setting, ...] = field(repr=False)
    warnings: tuple[str, ...]

    def of(self, what: str) -> list[Setting]:
        """The settings of one sort, in the profile's order."""
        return [one for one in self.settings if one.what == what]

    @property
    def ranks(self) -> int:
        """Ranks on a node."""
        return self.wishes.ranks_per_node or int(self.profile["node"]["ranks"])

    @property
    def accelerator(self) -> str:
        """Lightning's name of the device."""
        return "gpu" if self.profile["node"]["gpus"] else "cpu"

    @property
    def device(self) -> str:
        """The device as torch names it."""
        return "cuda" if self.profile["node"]["gpus"] else "cpu"


class Recipes:
    """Profiles and stacks of a checkout, each read once.

    Args:
        root: the checkout; by default the one this package belongs to.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self._profiles: dict[str, Document] = {}
        self._stacks: dict[str, Stack] = {}

    def profile(self, name: str) -> Document:
        """The profile of a site."""
        if name not in self._profiles:
            self._profiles[name] = profile.read(name, self.root)
        return self._profiles[name]

    def stack(self, name: str) -> Stack:
        """A stack."""
        if name not in self._stacks:
            self._stacks[name] = recipe.load(name, self.root)
        return self._stacks[name]


def make(wishes: Wishes, recipes: Recipes | None = None) -> Job:
    """A job from a user's wishes.

    Args:
        wishes: what the user asks for.
        recipes: of the checkout that this package belongs to, by default.

    Raises:
        StackError: profile or stack are not valid, or do not fit.
    """
    recipes = recipes or Recipes()
    document = recipes.profile(wishes.site)
    value = document.value
    stack = recipes.stack(wishes.stack or value["stacks"][0])
    if stack.device != value["device"]:
        fitting = ", ".join(value["stacks"])
        raise StackError(
            f"stack {stack.name} is for {stack.device}, {wishes.site} has {value['device']}; stacks for it: {fitting}"
        )
    if wishes.nodes < 1:
        raise StackError(f"{wishes.nodes} nodes: a job has one or more")
    backend = wishes.backend or value["backend"]
    if backend == "nccl" and not value["node"]["gpus"]:
        raise StackError(f"backend nccl is for GPUs, and {wishes.site} has none: --backend gloo")
    gpus = value["node"]["gpus"]
    if wishes.ranks_per_node is not None and (wishes.ranks_per_node < 1 or gpus not in (0, wishes.ranks_per_node)):
        raise StackError(
            f"{wishes.ranks_per_node} ranks a node: " + (f"{wishes.site} has {gpus} GPUs" if gpus else "1 or more")
        )
    settings = _Settings(document, stack, wishes, backend)
    return Job(wishes, stack, value, backend, tuple(settings.all()), tuple(_warnings(wishes, value, stack)))


def _warnings(wishes: Wishes, value: Mapping[str, Any], stack: Stack) -> list[str]:
    """What may not work, in sentences."""
    found = []
    if stack.name not in value["stacks"]:
        found.append(f"stack {stack.name} is not among those known for {wishes.site}: {', '.join(value['stacks'])}")
    arch = value.get("gpu_arch")
    if arch and arch not in stack.gpu_arch:
        found.append(
            f"stack {stack.name} is for {', '.join(stack.gpu_arch)}, the GPUs of {wishes.site} are {arch}: "
            "docs/stacks.md, Adding a stack"
        )
    return found


class _Settings:
    """The settings of a profile that apply to a job."""

    def __init__(self, document: Document, stack: Stack, wishes: Wishes, backend: str) -> None:
        self._document = document
        self._chosen = {"kind": wishes.kind, "runtime": wishes.runtime, "backend": backend}
        self._wishes = wishes
        own = {str(key): str(item) for key, item in document.value.get("versions", {}).items()}
        of_stack = {"stack": stack.name}
        if stack.toolkit:
            of_stack["toolkit"] = stack.toolkit.version
        if stack.site and stack.site.name == wishes.site:
            more = {"cpe": stack.site.cpe, "cray_mpich": stack.site.cray_mpich}
            of_stack |= {key: item for key, item in more.items() if item}
        self._versions = of_stack | own

    def all(self) -> list[Setting]:
        """Everything that applies, in the order in which scripts show it."""
        value = self._document.value
        found = self._mapping("batch", ("batch",))
        if self._wishes.kind != ANY:
            found += self._launch(value["launch"][self._wishes.kind], ("launch", self._wishes.kind))
        found += self._list("module", "name", ("modules",))
        found += self._mapping("variable", ("environment",))
        found += self._mapping("cache", ("caches",))
        if self._wishes.runtime == "container":
            container = value["container"]
            found += self._list("option", "value", ("container", "options"))
            found += self._list("bind", "path", ("container", "binds"))
            if "inside" in container:
                found += self._mapping("inside", ("container", "inside"))
            if "host_libraries" in container and self._applies(container["host_libraries"]):
                item = container["host_libraries"]
                found.append(self._one("libraries", "", item["value"], ("container", "host_libraries"), item))
            image = {"reason": f"of the stack {self._versions['stack']}; MLIP_IMAGE names another", "source": "here"}
            found.append(self._one("image", "MLIP_IMAGE", container["image"], ("container", "image"), image))
        return found

    def _launch(self, launch: Mapping[str, Any], place: KeyPath) -> list[Setting]:
        """What srun and its tasks are given."""
        found = [self._one("srun", "", option, place, launch) for option in launch["options"]]
        return found + [
            self._one("task", name, item, place, launch) for name, item in launch.get("environment", {}).items()
        ]

    def _applies(self, item: Mapping[str, Any]) -> bool:
        """Whether a setting is for this job."""
        return all(self._chosen[key] in (ANY, *allowed) for key, allowed in item.get("when", {}).items())

    def _mapping(self, what: str, path: KeyPath) -> list[Setting]:
        """The settings of a mapping from names."""
        items = _inner(self._document.value, path)
        return [
            self._one(what, name, item["value"], (*path, name), item)
            for name, item in items.items()
            if self._applies(item)
        ]

    def _list(self, what: str, key: str, path: KeyPath) -> list[Setting]:
        """The settings of a list."""
        items = enumerate(_inner(self._document.value, path))
        return [
            self._one(what, "", item[key], (*path, str(number), key), item)
            for number, item in items
            if self._applies(item)
        ]

    def _one(self, what: str, name: str, text: str, path: KeyPath, why: Mapping[str, Any]) -> Setting:
        return Setting(what, name, self._filled(text, path), why["reason"], why["source"])

    def _filled(self, text: str, path: KeyPath) -> str:
        """Versions in place of {names}.

        Raises:
            StackError: nobody says the version.
        """

        def version(match: re.Match[str]) -> str:
            if match[1] not in self._versions:
                raise StackError(
                    f"{self._document.place(path)}: {dotted(path)} needs {{{match[1]}}}, which neither the stack "
                    f"{self._versions['stack']} nor `versions` of this profile has"
                )
            return self._versions[match[1]]

        return PLACEHOLDER.sub(version, text)


def _inner(value: Any, path: KeyPath) -> Any:
    for key in path:
        value = value[key]
    return value

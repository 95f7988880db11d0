"""What a job sets, why, and who says so: tables for the terminal and for the pages of docs/sites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlip.jobs import profile
from mlip.jobs.job import Job, Recipes, Setting, Wishes, make
from mlip.stack import places

LONGEST = 60
PAGE = "rendered from recipes/sites/{site}/site.yaml by mlip job shipped"


def setting(one: Setting) -> str:
    """A setting as it appears in a script."""
    assigned = f"{one.name}={one.value}"
    return {
        "batch": f"#SBATCH --{assigned}" if one.value else f"#SBATCH --{one.name}",
        "module": f"module {one.value if one.value == 'reset' else f'load {one.value}'}",
        "variable": assigned,
        "cache": f"{one.name}=$MLIP_LOCAL/cache/{one.value}",
        "option": f"container {one.value}",
        "bind": f"bind {one.value}",
        "inside": f"in the container: {assigned}",
        "libraries": f"libraries of the host: {one.value}",
        "image": assigned,
    }[one.what]


def rows(job: Job) -> list[tuple[str, str, str]]:
    """(setting, reason, source) of everything that a job sets."""
    value = job.profile
    found = [(setting(one), one.reason, one.source) for one in job.settings if one.what not in ("srun", "task")]
    if launch := job.of("srun"):
        words = [one.value for one in launch] + [f"env {one.name}={one.value}" for one in job.of("task")]
        found.insert(len(job.of("batch")), (" ".join(["srun", *words]), launch[0].reason, launch[0].source))
    for what, key in (
        (f"{job.ranks} ranks a node, {value['node']['cores_per_rank']} cores each", "node"),
        (f"#SBATCH --signal=B:USR1@{value['limits']['stop_before']}", "limits"),
        (f"MASTER_ADDR={value['rendezvous']['address']}", "rendezvous"),
    ):
        found.append((what, value[key]["reason"], value[key]["source"]))
    local = value["storage"]["local"]
    found.append((f"MLIP_LOCAL={local['value']}/mlip-$SLURM_JOB_ID", local["reason"], local["source"]))
    if job.wishes.kind == "md" and value["lammps"]["arguments"]:
        found.append((f"lmp {value['lammps']['arguments']}", value["lammps"]["reason"], value["lammps"]["source"]))
    return found


def shortened(text: str) -> str:
    """Text of a column's width."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def sources(job: Job, keys: Sequence[str]) -> list[str]:
    """A line for each source that is named."""
    known = job.profile["sources"]
    return [f"{key}: {known[key]['what']}, {known[key]['date']}" for key in known if key in keys]


def pages() -> dict[Path, str]:
    """docs/sites/NAME.md of every site and what should be in it."""
    docs = places.checkout() / "docs" / "sites"
    recipes = Recipes()
    return {docs / f"{site}.md": page(site, recipes) for site in profile.names()}


def page(site: str, recipes: Recipes) -> str:
    """The page of a site: commands, what was checked, and every setting with reason and source."""
    gpus = recipes.profile(site).value["node"]["gpus"]
    jobs = {
        (kind, runtime, backend): make(Wishes(site, kind=kind, runtime=runtime, backend=backend), recipes)
        for runtime in profile.RUNTIMES
        for kind in profile.KINDS
        for backend in (profile.BACKENDS if gpus else ("gloo",))
    }
    first = jobs["train", "container", "gloo"]
    value = first.profile
    scratch = value["storage"]["scratch"]
    lines = [
        f"<!-- {PAGE.format(site=site)} -->",
        f"# {site}",
        "",
        f"{value['summary']}. Stacks: {', '.join(f'`{name}`' for name in value['stacks'])}; the first is taken unless",
        "`--stack` names another. [Sites](../sites.md) says what the scripts do.",
        "",
        "```sh",
        f"mlip job render --site {site} --nodes 4 --account PROJECT     # into mlip-jobs: train, md and compile",
        "sbatch mlip-jobs/train.sbatch config.yaml",
        "sbatch mlip-jobs/compile.sbatch runs/config/best.ckpt model.nequip.pt2",
        "MLIP_MODEL=model.nequip.pt2 sbatch mlip-jobs/md.sbatch mlip-jobs/md.in -var system structure.data",
        "```",
        "",
        f"`--runtime container` (the default) runs the image `{_image(first)}`, `--runtime spack` the programs of",
        "`MLIP_VENV` and `MLIP_VIEW`. Work from a folder on the shared file system, here",
        f"`{scratch['value']}`: {scratch['reason']} ({scratch['source']}).",
        "",
        "## Checked and unchecked",
        "",
        f"Checked: {value['checked']}",
        "",
        f"Unchecked: {value['unchecked']} Each line below is believed for the source it names.",
        "",
        *[f"Warning of the renderer: {warning}.\n" for warning in first.warnings],
        "## What is set, why, and who says so",
        "",
    ]
    lines += _table(jobs)
    lines += ["", "## Sources", ""]
    used = {key for job in jobs.values() for _, _, key in rows(job)}
    used.add(scratch["source"])
    lines += [f"- {line}" for line in sources(first, sorted(used))]
    return "\n".join(lines) + "\n"


def _image(job: Job) -> str:
    return job.of("image")[0].value


def _table(jobs: dict[tuple[str, str, str], Job]) -> list[str]:
    """A row for each setting of any job, with the jobs that have it."""
    owners: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    for which, job in jobs.items():
        for row in rows(job):
            owners.setdefault(row, []).append(which)
    lines = ["| setting | in | reason | source |", "|---|---|---|---|"]
    for (what, reason, source), having in owners.items():
        lines.append(f"| `{what}` | {_which(having, list(jobs))} | {reason} | {source} |")
    return lines


def _which(having: list[tuple[str, str, str]], everyone: list[tuple[str, str, str]]) -> str:
    """The jobs of a list in words: what all of them share and others have not."""
    words = []
    for position in range(3):
        here = {which[position] for which in having}
        if here != {which[position] for which in everyone}:
            words.append(" and ".join(sorted(here)))
    return ", ".join(words) or "all"

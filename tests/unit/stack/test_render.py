"""Container files follow their recipes: one version changed, and the lines that name it change, no other."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from mlip.stack import recipe, render
from mlip.stack.errors import StackError
from tests.unit.stack.recipes import change

DOCKERFILE = """\
# {{ header }}
FROM scratch AS system
{% if stack.toolkit and stack.toolkit.image %}
FROM {{ stack.toolkit.image }}:{{ stack.toolkit.tag }} AS toolkit
{% endif %}
RUN install-python python{{ stack.python.version }}
RUN echo torch {{ stack.torch.version }}+{{ stack.torch.build }} mpich {{ stack.mpi.version }}
LABEL title="mlip:{{ stack.name }}"
"""
DEFINITION = """\
# {{ header }}
Bootstrap: docker-archive
{% for name, value in environment.items() %}
    export {{ name }}="{{ value }}"
{% endfor %}
"""


@pytest.fixture
def own_templates(checkout: Path) -> Path:
    """The checkout with templates of this test."""
    (checkout / "containers/Dockerfile.j2").write_text(DOCKERFILE)
    (checkout / "containers/mlip.def.j2").write_text(DEFINITION)
    return checkout


def changed_lines(before: dict[Path, str], after: dict[Path, str]) -> list[str]:
    """The lines that differ, as `FILE -old` and `FILE +new`."""
    assert before.keys() == after.keys()
    found = []
    for path, text in before.items():
        lines = difflib.unified_diff(text.splitlines(), after[path].splitlines(), n=0, lineterm="")
        found += [f"{path.name} {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]
    return found


class TestRendering:
    def test_fills_in_the_recipe(self, own_templates: Path) -> None:
        files = render.rendered(recipe.load("rocm-6.4"))
        assert [str(path.relative_to(own_templates)) for path in files] == [
            "containers/rocm-6.4/Dockerfile",
            "containers/rocm-6.4/mlip.def",
        ]
        assert next(iter(files.values())) == (
            "# rendered from recipes/stacks/rocm-6.4.yaml by mlip stack render; not edited by hand\n"
            "FROM scratch AS system\n"
            "FROM rocm/dev-ubuntu-24.04:6.4.2-complete AS toolkit\n"
            "RUN install-python python3.11\n"
            "RUN echo torch 2.9.1+rocm6.4 mpich 4.1.3\n"
            'LABEL title="mlip:rocm-6.4"\n'
        )

    def test_writes_what_changed_and_only_that(self, own_templates: Path) -> None:
        stack = recipe.load("cpu")
        assert [path.name for path in render.write(stack)] == ["Dockerfile", "mlip.def"]
        assert render.write(stack) == []
        (own_templates / "containers/cpu/mlip.def").write_text("edited by hand\n")
        assert [path.name for path in render.write(stack)] == ["mlip.def"]
        assert render.drift(stack) == ""

    def test_an_image_says_where_things_are(self) -> None:
        words = render.environment(recipe.load("cuda"))
        assert words["PATH"].startswith("/opt/mlip/bin:/opt/lammps/bin:")
        assert words["CUDA_HOME"] == "/opt/mlip/lib/python3.11/site-packages/nvidia/cu13"
        assert "ROCM_PATH" not in words
        assert render.environment(recipe.load("rocm-7.1"))["ROCM_PATH"] == "/opt/rocm"


class TestOneVersionChanged:
    def test_changes_the_lines_that_name_it(self, own_templates: Path) -> None:
        before = render.rendered(recipe.load("rocm-6.4"))
        change(own_templates / "recipes/stacks/rocm-6.4.yaml", "version: 2.9.1", "version: 2.9.0")
        assert changed_lines(before, render.rendered(recipe.load("rocm-6.4"))) == [
            "Dockerfile -RUN echo torch 2.9.1+rocm6.4 mpich 4.1.3",
            "Dockerfile +RUN echo torch 2.9.0+rocm6.4 mpich 4.1.3",
        ]

    def test_leaves_the_other_stacks_as_they_are(self, own_templates: Path) -> None:
        others = [name for name in recipe.names() if name != "rocm-6.4"]
        before = {name: render.rendered(recipe.load(name)) for name in others}
        change(own_templates / "recipes/stacks/rocm-6.4.yaml", "version: 2.9.1", "version: 2.9.0")
        assert {name: render.rendered(recipe.load(name)) for name in others} == before

    def test_of_what_stacks_share_reaches_each_that_does_not_state_its_own(self, own_templates: Path) -> None:
        before = {name: render.rendered(recipe.load(name)) for name in recipe.names()}
        text = (own_templates / "recipes/stacks/_base.yaml").read_text()
        (own_templates / "recipes/stacks/_base.yaml").write_text(text.replace("version: 5.0.2", "version: 5.0.1"))
        after = {name: render.rendered(recipe.load(name)) for name in recipe.names()}
        affected = {name for name in recipe.names() if before[name] != after[name]}
        assert affected == {name for name in recipe.names() if not name.startswith("rocm")}

    def test_in_the_real_templates_changes_nothing_but_lines_with_that_version(self, checkout: Path) -> None:
        if not (checkout / "containers/Dockerfile.j2").is_file():
            pytest.skip("the templates are not written yet")
        before = render.rendered(recipe.load("rocm-6.4"))
        change(checkout / "recipes/stacks/rocm-6.4.yaml", "6.4.2", "6.4.3")
        changes = changed_lines(before, render.rendered(recipe.load("rocm-6.4")))
        assert changes
        assert len(changes) % 2 == 0
        for line in changes:
            sign = line.split(" ", 1)[1][0]
            assert {"-": "6.4.2", "+": "6.4.3"}[sign] in line


class TestCommittedFiles:
    def test_follow_their_recipes(self) -> None:
        for name in recipe.names():
            stack = recipe.load(name)
            if not all(path.is_file() for path in render.rendered(stack)):
                pytest.skip(f"containers/{name} is not rendered yet: mlip stack render")
            assert not render.drift(stack), f"run mlip stack render {name}"

    def test_say_that_they_are_rendered(self) -> None:
        for name in recipe.names():
            for path, text in render.rendered(recipe.load(name)).items():
                assert path.suffix == ".json" or text.splitlines()[0] == (  # JSON has no comments
                    f"# rendered from recipes/stacks/{name}.yaml by mlip stack render; not edited by hand"
                ), path


class TestMistakesInTemplates:
    @pytest.mark.parametrize(
        "template, message",
        [
            (
                "one\n{{ stack.tourch.version }}\n",
                r"containers/Dockerfile\.j2:2: .* no attribute 'tourch' \(stack cpu\)",
            ),
            ("{{ stak }}\n", r"containers/Dockerfile\.j2:1: 'stak' is undefined"),
            ("one\n\n{% if stack %}\n", r"containers/Dockerfile\.j2:3: .*Unexpected end of template"),
        ],
    )
    def test_are_named_with_their_line(self, own_templates: Path, template: str, message: str) -> None:
        (own_templates / "containers/Dockerfile.j2").write_text(template)
        with pytest.raises(StackError, match=message):
            render.rendered(recipe.load("cpu"))

    def test_a_missing_template_is_said(self, own_templates: Path) -> None:
        (own_templates / "containers/mlip.def.j2").unlink()
        with pytest.raises(StackError, match=r"there is no template containers/mlip\.def\.j2"):
            render.rendered(recipe.load("cpu"))

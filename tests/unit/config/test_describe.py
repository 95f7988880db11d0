"""What users can ask about keys and names, and the reference page made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlip.cli import config as command
from mlip.config.describe import explain, markdown
from mlip.config.errors import ConfigError
from mlip.config.signatures import argument_texts, parameters_of
from mlip.config.targets import MODEL_PARTS, REFUSED, TARGETS, resolve_target
from mlip.config.value_types import conforms, in_words

ROOT = Path(__file__).parents[3]


def test_the_reference_page_is_current() -> None:
    page = ROOT / "docs/reference/configs.md"
    assert page.read_text() == markdown(), "run: mlip config explain --markdown > docs/reference/configs.md"


@pytest.mark.parametrize("name", sorted({**TARGETS, **MODEL_PARTS}))
def test_every_parameter_of_every_public_name_is_described(name: str) -> None:
    lines = explain(name)
    assert len(lines[0]) > len(name) + 10
    silent = [parameter.name for parameter in parameters_of(name) or [] if not parameter.text]
    # keyword arguments of other packages have documentation there
    assert not silent or name.endswith("SimpleDDPStrategy"), silent


@pytest.mark.parametrize(
    "word, line",
    [
        ("nequip.train.callbacks.SoftAdapt", "  interval (text, default epoch): batch or epoch"),
        ("SoftAdapt", "  beta (a number, required): how strongly; 0 leaves the weights to the sizes of the parts"),
        (
            "trainer.max_epochs",
            "lightning.Trainer: max_epochs (a whole number or null; must be at least -1, default null)",
        ),
        ("run", "run: train, val, test, or a list of them in order"),
        ("int_mul", "${int_mul:...}: a * b"),
        (
            "training_module.model.r_max",
            "allegro.model.AllegroModel: r_max (a number, required): cutoff radius, Å",
        ),
    ],
)
def test_explanations_are_one_line_each(word: str, line: str) -> None:
    assert line in explain(word)


def test_unknown_words_get_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["explain", "r_maxx"])
    assert "there is nothing called r_maxx (did you mean r_max?)" in capsys.readouterr().err


@pytest.mark.parametrize("name", REFUSED)
def test_names_without_a_counterpart_say_what_to_write(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not available: .*write"):
        resolve_target(name)
    assert "not available" in explain(name)[0]


@pytest.mark.parametrize(
    "value, annotation, fits",
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        ("1", float, False),
        (None, float | None, True),
        ([1, 2], list[int], True),
        ([1, "a"], list[int], False),
        ([1, 2.5], tuple[int, float], True),
        ([1], tuple[int, float], False),
        ({"a": 1.0}, dict[str, float], True),
        ({"a": "b"}, dict[str, float], False),
        ({"_target_": "x"}, dict[str, float], True),
        ({"_target_": "x"}, int, False),
        ("path", Path, True),
        ("anything", object, True),
    ],
)
def test_kinds_of_values(value: object, annotation: object, fits: bool) -> None:
    assert conforms(value, annotation) is fits
    assert in_words(annotation)


def test_descriptions_come_from_docstrings() -> None:
    text = "Title.\n\nArgs:\n    a: first\n        and more.\n    b, c: both.\n\nReturns:\n    x: no.\n"
    assert argument_texts(text) == {"a": "first and more.", "b": "both.", "c": "both."}

"""Checkpoints are JSON and tensors: every value that Lightning and torch put into one comes back the same."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from mlip.deploy.plain_values import PlainValueError, from_plain, to_plain


def back(value: Any) -> Any:
    """A value through the text of a file."""
    plain, tensors = to_plain(value)
    return from_plain(json.loads(json.dumps(plain, allow_nan=False)), tensors)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**80,
        0.1,
        1e-310,
        -0.0,
        math.inf,
        -math.inf,
        "Å",
        [],
        {},
        (),
        [1, [2.0, "three"]],
        (1, (2,)),
        {"betas": (0.9, 0.999), "foreach": None},
        {0: "a", "0": "b", (1, 2): "c"},
        {"$tensor": "a key that looks like a mark"},
        OrderedDict(b=1, a=2),
        Counter({80: 1, 60: 2}),
        {1, 2},
        frozenset({"a"}),
        b"\x00\xff",
        torch.Size([2, 3]),
        torch.float64,
        torch.device("cpu"),
    ],
    ids=repr,
)
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    found = back(value)
    assert found == value
    assert type(found) is type(value)


def test_order_of_keys_is_kept() -> None:
    assert list(back({"b": 1, "a": 2})) == ["b", "a"]
    assert list(back({2: "b", 1: "a"})) == [2, 1]


def test_a_number_that_is_none_comes_back_as_one() -> None:
    assert math.isnan(back(math.nan))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 4)])
def test_tensors_come_back_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.rand(shape) * 9).to(dtype)
    found = back({"a": [tensor]})["a"][0]
    assert found.dtype == dtype
    assert found.shape == shape
    assert torch.equal(found, tensor)


def test_one_tensor_in_two_places_is_stored_once() -> None:
    tensor = torch.ones(3)
    value = {"best": tensor, "scores": {"a": tensor}}
    assert list(to_plain(value)[1]) == ["best"]
    found = back(value)
    assert found["best"] is found["scores"]["a"]


def test_tensors_are_named_after_their_places() -> None:
    value = {"state": {0: {"exp_avg": torch.zeros(1)}, "0": {"exp_avg": torch.ones(1)}}}
    assert list(to_plain(value)[1]) == ["state/0/exp_avg", "state/0/exp_avg'"]
    assert float(back(value)["state"]["0"]["exp_avg"]) == 1.0


def test_versions_of_modules_stay_with_a_state_dict() -> None:
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert back(state)._metadata == state._metadata


def test_numbers_of_numpy_become_python_s() -> None:
    assert back([np.float32(0.5), np.int64(3)]) == [0.5, 3]


class Unknown:
    pass


def test_what_cannot_be_stored_is_named_with_its_place() -> None:
    with pytest.raises(PlainValueError, match=r"callbacks.Mine.0 is a .*Unknown, which cannot be stored"):
        to_plain({"callbacks": {"Mine": [Unknown()]}})


@pytest.mark.parametrize(
    "plain, says",
    [
        ({"$call": ["os.system", "true"]}, r"unknown kind of value '\$call'"),
        ({"$tensor": "weights"}, "the tensor weights is missing"),
        ({"$dtype": "load"}, "torch has no dtype 'load'"),
        ({"$bytes": 3}, r"damaged value of kind '\$bytes'"),
        ({"$dict": [1]}, r"damaged value of kind '\$dict'"),
    ],
)
def test_text_that_no_value_has_is_refused(plain: Any, says: str) -> None:
    with pytest.raises(PlainValueError, match=says):
        from_plain(plain, {})

"""Whatever a field of a declaration holds, the answer is one line."""

import math
from dataclasses import fields as fields_of
from typing import Any

import numpy as np
import pytest

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor
from lossexport.errors import LossexportError
from tests.catalog.test_declaration import declared

ODD: list[Any] = [
    *(None, 0, -1, 1.5, math.nan, math.inf, "", "a b", "a", "\x1b[2J", "x" * 5000, b"x", True),
    *([], {}, (), {1}, object(), len, int, Ellipsis, 10**5000, -(10**400), np.ones(2), np.int64(3)),
    *(("a",), (1, 2, 3), (None,), [[1]], {"N": 5}, {1: 2}, {"ordinary": 1}, ("N", -1), 1j),
    *(Tensor("t", ("N",)), Attribute("t", 1), Reference("t", "t")),
]
FIELDS = [(part, field.name) for part in (Op, Tensor, Attribute) for field in fields_of(part)]


@pytest.mark.parametrize(("part", "field"), FIELDS)
def test_whatever_a_field_holds_the_answer_is_one_line(part: type, field: str) -> None:
    refused = []
    for value in ODD:
        try:
            if part is Op:
                declared(**{field: value})
            elif part is Tensor:
                tensor = Tensor(**{"name": "pred", "shape": ("N", 4), field: value})
                declared(inputs=(tensor, Tensor("target", ("N", 4))))
            else:
                item = Attribute(**{"name": "width", "default": 640.0, field: value})
                declared(attributes=(item,))
        except LossexportError as error:
            refused.append(str(error))
    assert len(refused) > len(ODD) / 3
    assert max(map(len, refused)) < 1000
    assert "\n" not in "".join(refused)

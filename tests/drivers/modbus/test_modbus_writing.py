"""What a value becomes before it is written: nothing is rounded in silence."""

import pytest

from headrace.drivers.modbus.points import Point, resolve
from headrace.drivers.modbus.values import Type
from headrace.drivers.modbus.writing import encode_value
from headrace.kernel.errors import InputError


def _written(value: float, type_: Type, scale: float = 1.0) -> int:
    point = Point(address="holding:0", type=type_, scale=scale, writable=True)
    return int.from_bytes(encode_value(point, resolve(point), value).data, "big", signed=type_ is Type.I16)


def test_whole_numbers_pass_and_fractions_do_not() -> None:
    assert _written(2800.0, Type.U16) == 2800
    with pytest.raises(InputError) as caught:
        _written(1.5, Type.U16)
    assert caught.value.code == "modbus.write_needs_whole"


def test_a_scaled_value_takes_the_nearest_step() -> None:
    assert _written(12.34, Type.I16, 0.1) == 123

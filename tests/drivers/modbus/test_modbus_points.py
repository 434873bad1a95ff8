import msgspec
import pytest

from headrace.drivers.modbus import DRIVER, Framing, Point, Settings
from headrace.drivers.modbus.points import limits, parse_address
from headrace.kernel import messages
from headrace.kernel.config import Duration
from headrace.kernel.errors import InputError
from headrace.kernel.model import Kind
from headrace.kernel.ports import Span


def point(**keys: object) -> Point:
    return msgspec.convert(keys, Point)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("holding:100", ("holding", 100, None)),
        ("HR:100", ("holding", 100, None)),
        ("ir:0x1F", ("input", 31, None)),
        ("co:3", ("coil", 3, None)),
        ("discrete:9", ("discrete", 9, None)),
        ("holding:12.5", ("holding", 12, 5)),
        ("40001", ("holding", 0, None)),
        (40101, ("holding", 100, None)),
        ("30001", ("input", 0, None)),
        ("10001", ("discrete", 0, None)),
        ("00001", ("coil", 0, None)),
        ("465536", ("holding", 65535, None)),
        ("400013.15", ("holding", 12, 15)),
    ],
)
def test_addresses(text: str | int, expected: tuple[str, int, int | None]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"address": "DB1.DBW4"}, "modbus.bad_address"),
        ({"address": 1}, "modbus.bad_address"),
        ({"address": "50001"}, "modbus.bad_address"),
        ({"address": "40000"}, "modbus.address_range"),
        ({"address": "holding:65536"}, "modbus.address_range"),
        ({"address": "coil:1.2"}, "modbus.bit_of_bit"),
        ({"address": "holding:1.16"}, "modbus.bit_range"),
        ({"address": "coil:1", "type": "u16"}, "modbus.bit_needs_bool"),
        ({"address": "holding:1", "type": "bool"}, "modbus.bool_needs_bit"),
        ({"address": "holding:1", "scale": 0}, "modbus.bad_scale"),
        ({"address": "coil:1", "scale": 2}, "modbus.scale_needs_number"),
        ({"address": "holding:1", "type": "string"}, "modbus.string_needs_length"),
        ({"address": "holding:1", "length": 3}, "modbus.length_without_string"),
        ({"address": "holding:1", "type": "f32", "order": "GHEFCDAB"}, "modbus.order_width"),
        ({"address": "holding:65535", "type": "f32"}, "modbus.past_end"),
        ({"address": "input:1", "writable": True}, "modbus.area_read_only"),
    ],
)
def test_points_that_make_no_sense(keys: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as caught:
        DRIVER.layout(Settings(), point(**keys))
    assert caught.value.code == code
    assert caught.value.params["key"] in {f.name for f in msgspec.structs.fields(Point)}
    for lang in ("zh", "en"):
        text = caught.value.text(lang)
        assert text != code and "{" not in text


@pytest.mark.parametrize(
    ("keys", "span", "kind"),
    [
        ({"address": "holding:1"}, Span("holding", 1, 1), Kind.F64),
        ({"address": "input:1", "type": "f64"}, Span("input", 1, 4), Kind.F64),
        ({"address": "holding:1", "type": "u64"}, Span("holding", 1, 4), Kind.U64),
        ({"address": "holding:1", "type": "i64"}, Span("holding", 1, 4), Kind.I64),
        ({"address": "holding:1", "type": "i64", "scale": 0.1}, Span("holding", 1, 4), Kind.F64),
        ({"address": "holding:1.3"}, Span("holding", 1, 1), Kind.BOOL),
        ({"address": "discrete:1"}, Span("discrete", 1, 1), Kind.BOOL),
        ({"address": "holding:1", "type": "string", "length": 5}, Span("holding", 1, 3), Kind.TEXT),
    ],
)
def test_layout(keys: dict[str, object], span: Span, kind: Kind) -> None:
    layout = DRIVER.layout(Settings(), point(**keys))
    assert (layout.span, layout.kind) == (span, kind)


def test_a_string_longer_than_the_devices_requests() -> None:
    with pytest.raises(InputError) as caught:
        DRIVER.layout(Settings(max_registers=8), point(address="hr:0", type="string", length=18))
    assert caught.value.code == "modbus.longer_than_request"


def test_limits_by_framing() -> None:
    tcp = limits(Settings(max_registers=100, gaps=False))
    assert tcp.max_units == {"holding": 100, "input": 100, "coil": 2000, "discrete": 2000}
    assert (tcp.parallel, tcp.gaps, tcp.request_cost) == (4, False, 64.0)
    serial = limits(Settings(framing=Framing.RTU, device="/dev/ttyS0", baudrate=9600))
    assert serial.parallel == 1
    assert serial.request_cost == pytest.approx(12.18, abs=0.01)
    assert limits(Settings(request_cost=7)).request_cost == 7


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (Settings(framing=Framing.RTU), "modbus.no_device"),
        (Settings(device="/dev/ttyS0"), "modbus.device_without_rtu"),
        (Settings(timeout=Duration(0)), "modbus.no_timeout"),
    ],
)
def test_settings_that_contradict_each_other(settings: Settings, code: str) -> None:
    with pytest.raises(InputError) as caught:
        DRIVER.limits(settings)
    assert caught.value.code == code


def test_every_code_raised_stands_in_the_table() -> None:
    import re
    from pathlib import Path

    import headrace.drivers

    root = Path(headrace.drivers.__file__).parent
    codes = {
        code
        for file in root.rglob("*.py")
        for code in re.findall(r'"((?:modbus|replay|host|drivers)\.[a-z0-9_]+)"', file.read_text("utf-8"))
    } - {"headrace.drivers"}
    rows = {c for f in root.rglob("messages.toml") for c in messages.read(f)}
    assert codes == rows
    assert all(messages.get(code) is not None for code in codes)

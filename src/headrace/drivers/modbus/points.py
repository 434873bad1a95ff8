"""The connection's settings, a tag's Modbus keys, and what they mean: addresses, layout and limits. Pure."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Final

import msgspec

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.values import REGISTERS, Order, Type
from headrace.kernel.config import Duration, Port, duration
from headrace.kernel.errors import InputError
from headrace.kernel.model import Kind
from headrace.kernel.ports import Layout, Limits, Span


class Framing(enum.StrEnum):
    TCP = "tcp"  # Modbus TCP
    RTU_TCP = "rtu-tcp"  # RTU frames through a TCP connection, as serial device servers pass them
    RTU = "rtu"  # RTU on a serial device


class Parity(enum.StrEnum):
    NONE = "none"
    EVEN = "even"
    ODD = "odd"


class Encoding(enum.StrEnum):
    UTF_8 = "utf-8"
    GB18030 = "gb18030"
    ASCII = "ascii"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`settings` of a connection with driver "modbus"."""

    host: str = "127.0.0.1"
    port: Port = 502
    unit: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    framing: Framing = Framing.TCP
    device: str = ""  # serial device of framing "rtu": /dev/ttyUSB0
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=4_000_000)] = 9600
    parity: Parity = Parity.EVEN  # the default of SL §2.5.1
    stop_bits: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    timeout: Duration = duration("1s")  # per request, and for connecting
    parallel: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4  # TCP only; falls back by itself, see client
    max_registers: Annotated[int, msgspec.Meta(ge=1, le=codec.MAX_READ_REGISTERS)] = codec.MAX_READ_REGISTERS
    max_bits: Annotated[int, msgspec.Meta(ge=1, le=codec.MAX_READ_BITS)] = codec.MAX_READ_BITS
    gaps: bool = True  # may registers between the configured ones be read along
    request_cost: Annotated[float, msgspec.Meta(ge=0)] | None = None  # in registers; None: by framing

    @property
    def endpoint(self) -> str:
        return self.device if self.framing is Framing.RTU else f"{self.host}:{self.port}"


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Modbus keys of a tag."""

    address: str | int
    type: Type | None = None  # None: bool for a bit, else u16
    order: Order = Order.ABCD
    length: Annotated[int, msgspec.Meta(ge=0, le=2 * codec.MAX_READ_REGISTERS)] = 0  # bytes of a string
    scale: float = 1.0
    offset: float = 0.0
    encoding: Encoding = Encoding.UTF_8
    writable: bool = False


class Place(msgspec.Struct, frozen=True):
    """A point with its address resolved: `length` registers or bits from `start` in `area`."""

    area: str
    start: int
    length: int
    type: Type
    bit: int | None  # of a register as it comes over the wire, 0 is the lowest
    kind: Kind

    @property
    def span(self) -> Span:
        return Span(self.area, self.start, self.length)


_ALIASES: Final = {"hr": "holding", "ir": "input", "co": "coil", "di": "discrete"}
_CLASSIC_AREA: Final = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_NAMED_FORM = re.compile(
    r"^(holding|input|coil|discrete|hr|ir|co|di):(0x[0-9a-f]{1,4}|\d{1,6})(?:\.(\d{1,2}))?$"
)
_CLASSIC_FORM = re.compile(r"^([0134])(\d{4,5})(?:\.(\d{1,2}))?$")


def parse_address(address: str | int) -> tuple[str, int, int | None]:
    """Area, address on the wire (from 0) and bit of `address`.

    `holding:100` counts from 0, as the wire does. The classical forms 40001 and 400001 count from 1 and
    their first digit is the area: 40001 is holding:0, 30001 input:0, 10001 discrete:0, 00001 coil:0.
    Raises InputError.
    """
    text = str(address).strip().lower()
    if match := _NAMED_FORM.match(text):
        area = _ALIASES.get(match[1], match[1])
        start = int(match[2], 0) if match[2].startswith("0x") else int(match[2])
    elif match := _CLASSIC_FORM.match(text):
        area = _CLASSIC_AREA[match[1]]
        start = int(match[2]) - 1
    else:
        raise InputError("modbus.bad_address", key="address", address=address)
    if not 0 <= start < codec.ADDRESSES:
        raise InputError("modbus.address_range", key="address", address=address)
    if match[3] is None:
        return area, start, None
    bit = int(match[3])
    if area in codec.BIT_AREAS:
        raise InputError("modbus.bit_of_bit", key="address", address=address, area=area)
    if bit > 15:
        raise InputError("modbus.bit_range", key="address", address=address, bit=bit)
    return area, start, bit


def resolve(point: Point) -> Place:
    """Where and what `point` is. Raises InputError whose `key` parameter names the key at fault."""
    area, start, bit = parse_address(point.address)
    is_bit = area in codec.BIT_AREAS or bit is not None
    type_ = point.type or (Type.BOOL if is_bit else Type.U16)
    if is_bit != (type_ is Type.BOOL):
        code = "modbus.bit_needs_bool" if is_bit else "modbus.bool_needs_bit"
        raise InputError(code, key="type", address=point.address, type=type_.value)
    scaled = point.scale != 1.0 or point.offset != 0.0
    if point.scale == 0.0 or point.scale != point.scale or abs(point.scale) == float("inf"):
        raise InputError("modbus.bad_scale", key="scale", scale=point.scale)
    if scaled and type_ in (Type.BOOL, Type.STRING):
        raise InputError("modbus.scale_needs_number", key="scale", type=type_.value)
    length = 1
    if type_ is Type.STRING:
        if not point.length:
            raise InputError("modbus.string_needs_length", key="length", address=point.address)
        length = (point.length + 1) // 2
    elif point.length:
        raise InputError("modbus.length_without_string", key="length", type=type_.value)
    elif type_ is not Type.BOOL:
        length = REGISTERS[type_]
        if point.order.width and point.order.width != length:
            raise InputError(
                "modbus.order_width", key="order", order=point.order.value, type=type_.value, registers=length
            )
    if start + length > codec.ADDRESSES:
        raise InputError("modbus.past_end", key="address", address=point.address, length=length)
    if point.writable and area in ("input", "discrete"):
        raise InputError("modbus.area_read_only", key="writable", area=area)
    if bit is not None and point.order.bytes_swapped:
        bit ^= 8
    return Place(area, start, length, type_, bit, _kind(type_, scaled))


def _kind(type_: Type, scaled: bool) -> Kind:
    if type_ is Type.BOOL:
        return Kind.BOOL
    if type_ is Type.STRING:
        return Kind.TEXT
    if type_ is Type.I64 and not scaled:
        return Kind.I64
    if type_ is Type.U64 and not scaled:
        return Kind.U64
    return Kind.F64


def layout(settings: Settings, point: Point) -> Layout:
    """What the planner needs of `point`. Raises InputError."""
    place = resolve(point)
    if place.area not in codec.BIT_AREAS and place.length > settings.max_registers:
        raise InputError(
            "modbus.longer_than_request", key="length", length=place.length, most=settings.max_registers
        )
    return Layout(place.span, place.kind, point.writable)


_TCP_REQUEST_COST: Final = 64.0
_TURNAROUND_S: Final = 0.005


def limits(settings: Settings) -> Limits:
    """Limits of the device. Raises InputError where the settings contradict each other.

    The cost of a request, in registers: over TCP a round trip and the device's own work outweigh half a full
    reply; on a serial line it is what the frame's overhead of 13 bytes, two silences of 3.5 characters (SL
    §2.5.1.1) and 5 ms of turnaround would carry at the line's speed.
    """
    serial = settings.framing is Framing.RTU
    if serial and not settings.device:
        raise InputError("modbus.no_device", key="device")
    if settings.device and not serial:
        raise InputError("modbus.device_without_rtu", key="device", framing=settings.framing.value)
    if settings.timeout <= 0:
        raise InputError("modbus.no_timeout", key="timeout")
    cost = settings.request_cost
    if cost is None:
        cost = (20 + _TURNAROUND_S * settings.baudrate / 11) / 2 if serial else _TCP_REQUEST_COST
    return Limits(
        max_units={
            "holding": settings.max_registers,
            "input": settings.max_registers,
            "coil": settings.max_bits,
            "discrete": settings.max_bits,
        },
        request_cost=cost,
        parallel=settings.parallel if settings.framing is Framing.TCP else 1,
        gaps=settings.gaps,
    )

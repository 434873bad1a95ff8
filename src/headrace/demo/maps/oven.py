"""Curing oven: temperature controllers behind one PLC: tenths of a degree in 16 bits (7FFF on a broken
wire), floats with all bytes reversed, burner states as discrete inputs."""

from __future__ import annotations

from functools import partial

from headrace.demo.maps._setpoint import setter, t
from headrace.demo.physics import Workshop
from headrace.demo.physics.dynamics import clamp
from headrace.demo.signals import Device, Signal
from headrace.drivers.modbus.values import Order, Type

_ZONES = (
    ("flash", "烘干段", "Drying"),
    ("zone1", "固化一区", "Zone 1"),
    ("zone2", "固化二区", "Zone 2"),
    ("zone3", "固化三区", "Zone 3"),
    ("zone4", "固化四区", "Zone 4"),
)
_tenth = partial(Signal, area="input", type=Type.I16, scale=0.1)
_float = partial(Signal, area="input", type=Type.F32, order=Order.DCBA)
_bit = partial(Signal, area="discrete", type=Type.BOOL)


def _zone(n: int, key: str, zh: str, en: str) -> list[Signal]:
    name, at = f"oven/{key}", 100 + 16 * n

    def set_temperature(shop: Workshop, value: float) -> None:
        shop.oven.all_zones()[n].setpoint = clamp(value, 40.0, 230.0)

    def reset(shop: Workshop, value: bool) -> None:
        if value:
            shop.press(f"reset-{key}")
            shop.oven.all_zones()[n].reset()

    return [
        _tenth(name=f"{name}/temperature", title=t(f"{zh}炉温", f"{en} air temperature"), address=at,
               unit="Cel",
               get=lambda w: w.oven.all_zones()[n].measured, low=0, high=260),
        _tenth(name=f"{name}/metal", title=t(f"{zh}工件温度", f"{en} part temperature"), address=at + 1,
               unit="Cel",
               get=lambda w: w.oven.all_zones()[n].metal, low=0, high=260),
        _tenth(name=f"{name}/fire", title=t(f"{zh}燃烧负荷", f"{en} burner output"), address=at + 2, unit="%",
               get=lambda w: w.oven.all_zones()[n].fire * 100.0, low=0, high=100),
        _tenth(name=f"{name}/fan-current", title=t(f"{zh}循环风机电流", f"{en} circulation fan current"),
               address=at + 3, unit="A", get=lambda w: w.oven.all_zones()[n].fan_current, low=0, high=40),
        _float(name=f"{name}/gas-flow", title=t(f"{zh}燃气流量", f"{en} gas flow"), address=at + 8,
               unit="m3/h",
               get=lambda w: w.oven.all_zones()[n].gas_flow, low=0, high=35, deadband=0.02),
        _bit(name=f"{name}/flame", title=t(f"{zh}火焰", f"{en} flame"), address=8 * n,
             get=lambda w: w.oven.all_zones()[n].flame, every="500ms"),
        _bit(name=f"{name}/lockout", title=t(f"{zh}燃烧器锁定", f"{en} burner lockout"), address=8 * n + 1,
             get=lambda w: w.oven.all_zones()[n].locked, every="500ms"),
        Signal(name=f"{name}/setpoint", title=t(f"{zh}温度设定", f"{en} temperature set-point"),
               area="holding",
               address=10 * n, unit="Cel", type=Type.I16, scale=0.1, low=40, high=230,
               get=lambda w: w.oven.all_zones()[n].setpoint, put=set_temperature),
        Signal(name=f"{name}/reset", title=t(f"{zh}燃烧器复位", f"{en} burner reset"), area="coil", address=n,
               type=Type.BOOL, get=lambda w: w.pressed(f"reset-{key}"), put=reset),
    ]  # fmt: skip


OVEN = Device(
    name="oven",
    title=t("固化炉 PLC（模拟）", "Curing oven PLC (simulated)"),
    model="PLC with temperature controllers",
    unit=3,
    latency_s=0.008,
    parallel=2,
    illegal=(("input", 0, 99), ("input", 180, 199), ("holding", 50, 99)),
    signals=(
        *(signal for n, (key, zh, en) in enumerate(_ZONES) for signal in _zone(n, key, zh, en)),
        Signal(name="oven/exhaust/frequency", title=t("排废风机频率设定", "Exhaust frequency set-point"),
               area="holding", address=100, unit="Hz", type=Type.U16, scale=0.01, low=0, high=50,
               get=lambda w: w.oven.exhaust_frequency, put=setter("oven.exhaust_frequency", 20, 50)),
        _float(name="oven/exhaust/flow", title=t("排废风量", "Exhaust flow"), address=200, unit="m3/h",
               get=lambda w: w.oven.exhaust_flow, low=0, high=5000, deadband=2),
        _float(name="oven/exhaust/temperature", title=t("排废温度", "Exhaust temperature"), address=202,
               unit="Cel",
               get=lambda w: w.oven.exhaust_temperature, low=0, high=250, deadband=0.1),
        _float(name="oven/exhaust/current", title=t("排废风机电流", "Exhaust fan current"), address=204,
               unit="A",
               get=lambda w: w.oven.exhaust_current, low=0, high=30, deadband=0.05),
        _float(name="oven/chamber/pressure", title=t("炉膛压力", "Chamber pressure"), address=206, unit="Pa",
               get=lambda w: w.oven.pressure, low=-40, high=40, deadband=0.1),
        _float(name="oven/chamber/vapour", title=t("可燃气浓度（爆炸下限）",
                                                   "Vapour, share of the lower explosive limit"),
               address=208, unit="%", get=lambda w: w.oven.vapour, low=0, high=100, deadband=0.1),
        Signal(name="oven/gas/total", title=t("累计燃气量", "Gas total"), area="input", address=210,
               unit="m3",
               type=Type.U32, order=Order.DCBA, scale=0.1, get=lambda w: w.oven.gas.total / 10.0),
        _float(name="oven/cure/peak", title=t("上一件最高温度", "Peak temperature of the last part"),
               address=220,
               unit="Cel", get=lambda w: w.oven.last.peak if w.oven.last else 0.0, low=0, high=260),
        _float(name="oven/cure/index", title=t("上一件固化指数", "Cure index of the last part"), address=222,
               get=lambda w: w.oven.last.cure if w.oven.last else 0.0, low=0, high=4),
        _float(name="oven/cure/above", title=t("上一件 170 ℃ 以上时间", "Time of the last part above 170 °C"),
               address=224, unit="s", get=lambda w: w.oven.last.above if w.oven.last else 0.0, low=0,
               high=2400),
        Signal(name="oven/cure/part", title=t("上一件工件号", "Last part"), area="input", address=230,
               type=Type.STRING, length=16, get=lambda w: w.oven.last.number if w.oven.last else ""),
        Signal(name="oven/cure/parts", title=t("累计固化件数", "Parts cured"), area="input", address=240,
               type=Type.U32, order=Order.DCBA, get=lambda w: w.oven.parts.total, every="5s"),
    ),
)  # fmt: skip

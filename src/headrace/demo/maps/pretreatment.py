"""Pretreatment: an old controller behind a serial server (RTU framing over TCP): scaled 16-bit integers,
one page of 256 registers for each tank with nothing between, requests of at most 32 registers, slow."""

from __future__ import annotations

from functools import partial

from headrace.demo.maps._setpoint import t
from headrace.demo.physics import Workshop
from headrace.demo.physics.dynamics import clamp
from headrace.demo.physics.pretreatment import PLANS, TankPlan
from headrace.demo.signals import Device, Signal
from headrace.drivers.modbus.values import Type

_in = partial(Signal, area="input")


def _tank(n: int, plan: TankPlan) -> list[Signal]:
    at, key, zh, en = 256 * (n + 1), plan.id, plan.zh, plan.en
    name = f"pretreatment/{key}"

    def set_temperature(shop: Workshop, value: float) -> None:
        shop.pretreatment.tanks[key].setpoint = clamp(value, 20.0, 65.0)

    def set_pump(shop: Workshop, value: bool) -> None:
        shop.pretreatment.tanks[key].pump = value

    signals = [
        _in(name=f"{name}/temperature", title=t(f"{zh}温度", f"{en} temperature"), address=at, unit="Cel",
            type=Type.I16, scale=0.1, get=lambda w: w.pretreatment.tanks[key].temperature, low=0, high=80),
        _in(name=f"{name}/conductivity", title=t(f"{zh}电导率", f"{en} conductivity"), address=at + 1,
            unit="uS/cm", type=Type.U16, get=lambda w: w.pretreatment.tanks[key].conductivity, low=0,
            high=30000 if plan.conductivity > 5000 else 5000 if plan.conductivity > 1000 else 1000),
        _in(name=f"{name}/level", title=t(f"{zh}液位", f"{en} level"), address=at + 3, unit="%",
            type=Type.U16,
            scale=0.1, get=lambda w: w.pretreatment.tanks[key].level, low=0, high=100, every="5s"),
        _in(name=f"{name}/pressure", title=t(f"{zh}喷淋压力", f"{en} spray pressure"), address=at + 4,
            unit="bar",
            type=Type.U16, scale=0.01, get=lambda w: w.pretreatment.tanks[key].pressure, low=0, high=4),
        _in(name=f"{name}/pump-current", title=t(f"{zh}泵电流", f"{en} pump current"), address=at + 5,
            unit="A",
            type=Type.U16, scale=0.1, get=lambda w: w.pretreatment.tanks[key].current, low=0, high=30),
        Signal(name=f"{name}/pump", title=t(f"{zh}循环泵", f"{en} pump"), area="coil", address=16 * n,
               type=Type.BOOL,
               get=lambda w: w.pretreatment.tanks[key].pump, put=set_pump),
    ]  # fmt: skip
    if plan.temperature:
        signals += [
            Signal(name=f"{name}/setpoint", title=t(f"{zh}温度设定", f"{en} temperature set-point"),
                   area="holding",
                   address=at, unit="Cel", type=Type.I16, scale=0.1, low=20, high=65,
                   get=lambda w: w.pretreatment.tanks[key].setpoint, put=set_temperature),
            _in(name=f"{name}/valve", title=t(f"{zh}加热阀开度", f"{en} heating valve"), address=at + 8,
                unit="%",
                type=Type.U16, scale=0.1, get=lambda w: w.pretreatment.tanks[key].valve * 100.0, low=0,
                high=100),
            Signal(name=f"{name}/dosing", title=t(f"{zh}加药中", f"{en} dosing"), area="discrete",
                   address=16 * n,
                   type=Type.BOOL, get=lambda w: w.pretreatment.tanks[key].dosing),
            _in(name=f"{name}/dosed", title=t(f"{zh}累计加药量", f"{en} concentrate dosed"), address=at + 10,
                unit="mL", type=Type.BCD32, get=lambda w: w.pretreatment.tanks[key].dosed.total, every="5s"),
        ]  # fmt: skip
    if plan.temperature or key == "di-rinse":
        signals.append(
            _in(name=f"{name}/ph", title=t(f"{zh} pH", f"{en} pH"), address=at + 2, unit="[pH]",
                type=Type.U16,
                scale=0.01, get=lambda w: w.pretreatment.tanks[key].ph, low=0, high=14)
        )  # fmt: skip
    return signals


_PAGES = tuple(("input", 256 * (n + 1) + 12, 256 * (n + 2) - 1) for n in range(len(PLANS)))

PRETREATMENT = Device(
    name="pretreatment",
    title=t("前处理控制器（模拟）", "Pretreatment controller (simulated)"),
    model="controller on RS-485 behind a serial server",
    framing="rtu-tcp",
    unit=17,
    every="2s",
    latency_s=0.018,
    jitter_s=0.010,
    max_registers=32,
    max_bits=256,
    illegal=(("input", 0, 255), *_PAGES),
    signals=(
        *(signal for n, plan in enumerate(PLANS) for signal in _tank(n, plan)),
        Signal(name="pretreatment/parts", title=t("累计处理件数", "Parts treated"), area="holding", address=8,
               type=Type.U32, get=lambda w: w.pretreatment.parts.total, every="5s"),
    ),
)  # fmt: skip

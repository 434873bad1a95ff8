"""Powder booth: a gun controller of Chinese make: bytes swapped, a page of 50 registers for each gun of
which few are there, names as GB18030 text."""

from __future__ import annotations

from functools import partial

from headrace.demo.maps._setpoint import setter, t
from headrace.demo.physics.parts import RECIPES
from headrace.demo.physics.powder import GUNS
from headrace.demo.signals import Device, Signal
from headrace.drivers.modbus.values import Order, Type

_reg = partial(Signal, area="holding", order=Order.BADC)
_word = partial(Signal, area="holding", type=Type.U16)
_bit = partial(Signal, area="discrete", type=Type.BOOL)


def _gun(n: int) -> list[Signal]:
    at, zh, en = 1000 + 50 * n, f"{n + 1} 号枪", f"Gun {n + 1}"
    name = f"powder/gun{n + 1}"
    return [
        _word(name=f"{name}/voltage", title=t(f"{zh}高压", f"{en} voltage"), address=at, unit="kV", scale=0.1,
              get=lambda w: w.booth.guns[n].voltage, low=0, high=100),
        _word(name=f"{name}/current", title=t(f"{zh}电流", f"{en} current"), address=at + 1, unit="uA",
              scale=0.1,
              get=lambda w: w.booth.guns[n].current, low=0, high=100, deadband=0.5),
        _word(name=f"{name}/flow", title=t(f"{zh}出粉量", f"{en} powder flow"), address=at + 4, unit="g/min",
              scale=0.1,
              get=lambda w: w.booth.guns[n].flow, low=0, high=300, deadband=1),
        _bit(name=f"{name}/fault", title=t(f"{zh}故障", f"{en} fault"), address=100 + n,
             get=lambda w: w.booth.guns[n].failed),
    ]  # fmt: skip


_GAPS = tuple(("holding", 1000 + 50 * n + 6, 1000 + 50 * (n + 1) - 1) for n in range(GUNS))

POWDER = Device(
    name="powder",
    title=t("喷粉控制器（模拟）", "Powder controller (simulated)"),
    model="gun controller, byte-swapped",
    unit=2,
    latency_s=0.015,
    jitter_s=0.008,
    max_registers=64,
    illegal=(("holding", 40, 99), *_GAPS),
    signals=(
        *(signal for n in range(GUNS) for signal in _gun(n)),
        _reg(name="powder/booth/velocity", title=t("喷房风速", "Booth air velocity"), address=0, unit="m/s",
             get=lambda w: w.booth.velocity, low=0, high=1, deadband=0.005),
        _reg(name="powder/booth/fan-current", title=t("排风机电流", "Exhaust fan current"), address=2,
             unit="A",
             get=lambda w: w.booth.fan_current, low=0, high=60, deadband=0.05),
        _reg(name="powder/cyclone/pressure", title=t("旋风分离器压差", "Cyclone differential pressure"),
             address=4,
             unit="Pa", get=lambda w: w.booth.cyclone_drop, low=0, high=2500, deadband=5),
        _reg(name="powder/filter/pressure", title=t("后级滤芯压差", "After-filter differential pressure"),
             address=6,
             unit="Pa", get=lambda w: w.booth.filter_drop, low=0, high=2000, deadband=3),
        _reg(name="powder/hopper/fluidising", title=t("流化气压", "Fluidising air"), address=8, unit="bar",
             get=lambda w: w.booth.fluidising, low=0, high=2, deadband=0.005),
        _reg(name="powder/hopper/level", title=t("粉桶料位", "Powder hopper level"), address=10, unit="%",
             get=lambda w: w.booth.hopper, low=0, high=100, deadband=0.1),
        _reg(name="powder/booth/temperature", title=t("喷房温度", "Booth temperature"), address=12,
             unit="Cel",
             get=lambda w: w.booth.temperature, low=0, high=40, every="5s", deadband=0.02),
        _reg(name="powder/booth/humidity", title=t("喷房湿度", "Booth humidity"), address=14, unit="%",
             get=lambda w: w.booth.humidity, low=0, high=100, every="5s", deadband=0.1),
        _reg(name="powder/cycle/film", title=t("上一件粉膜厚度", "Film of the last part"), address=16,
             unit="um",
             get=lambda w: w.booth.last_film, low=0, high=150),
        _reg(name="powder/powder/used", title=t("累计用粉", "Powder sprayed"), address=18, unit="g",
             type=Type.U32,
             get=lambda w: w.booth.used.total),
        _reg(name="powder/powder/recovered", title=t("累计回收粉", "Powder recovered"), address=20, unit="g",
             type=Type.U32, get=lambda w: w.booth.recovered.total),
        _reg(name="powder/cycle/parts", title=t("累计喷粉件数", "Parts sprayed"), address=22, type=Type.U32,
             get=lambda w: w.booth.parts.total, every="5s"),
        _word(name="powder/guns/voltage", title=t("高压设定", "Voltage set-point"), address=30, unit="kV",
              scale=0.1,
              get=lambda w: w.booth.voltage_setpoint, put=setter("booth.voltage_setpoint", 30, 100), low=30,
              high=100),
        _word(name="powder/guns/current-limit", title=t("限流设定", "Current limit"), address=31, unit="uA",
              get=lambda w: w.booth.current_limit, put=setter("booth.current_limit", 5, 100), low=5,
              high=100),
        _word(name="powder/guns/flow", title=t("出粉量设定", "Powder flow set-point"), address=32,
              unit="g/min",
              get=lambda w: w.booth.flow_setpoint, put=setter("booth.flow_setpoint", 50, 300), low=50,
              high=300),
        _word(name="powder/reciprocator/setpoint", title=t("往复机速度设定", "Reciprocator speed set-point"),
              address=33, unit="mm/s", get=lambda w: w.booth.stroke_speed_setpoint,
              put=setter("booth.stroke_speed_setpoint", 50, 600), low=50, high=600),
        _word(name="powder/reciprocator/position", title=t("往复机位置", "Reciprocator position"), address=34,
              unit="mm", get=lambda w: w.booth.position, low=0, high=2500, every="500ms"),
        _word(name="powder/reciprocator/speed", title=t("往复机速度", "Reciprocator speed"), address=35,
              unit="mm/s",
              get=lambda w: w.booth.stroke_speed, low=0, high=600),
        _bit(name="powder/state/running", title=t("运行", "Running"), address=0,
             get=lambda w: w.booth.running),
        _bit(name="powder/state/spraying", title=t("喷涂中", "Spraying"), address=1,
             get=lambda w: w.booth.spraying,
             every="500ms"),
        _reg(name="powder/powder/batch", title=t("粉末批号", "Powder batch"), address=100, type=Type.STRING,
             length=16,
             get=lambda w: w.booth.batch),
        _reg(name="powder/powder/colour", title=t("粉末颜色", "Powder colour"), address=110, type=Type.STRING,
             length=16, encoding="gb18030", get=lambda w: w.booth.colour.zh if w.booth.colour else ""),
        _reg(name="powder/cycle/recipe", title=t("工艺配方", "Recipe"), address=120, type=Type.STRING,
             length=32,
             encoding="gb18030", get=lambda w: RECIPES[w.booth.recipe]),
        _reg(name="powder/part/number", title=t("在位工件号", "Part in the booth"), address=140,
             type=Type.STRING,
             length=16, get=lambda w: w.booth.part.number if w.booth.part else ""),
    ),
)  # fmt: skip

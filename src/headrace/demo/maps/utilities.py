"""Utilities and conveyor: the shop's main controller with the electricity meter, 64-bit energy totals,
double floats."""

from __future__ import annotations

from functools import partial

from headrace.demo.maps._setpoint import button, setter, switch, t
from headrace.demo.physics import Workshop
from headrace.demo.physics.line import STATIONS
from headrace.demo.physics.utilities import AREAS
from headrace.demo.signals import Device, Get, Signal
from headrace.drivers.modbus.values import Order, Type

_in = partial(Signal, area="input")
_reg = partial(Signal, area="holding")
_bit = partial(Signal, area="discrete", type=Type.BOOL)
_AREA_TITLES = {
    "blast": ("抛丸电能", "Energy, blasting"),
    "pretreatment": ("前处理电能", "Energy, pretreatment"),
    "ecoat": ("电泳电能", "Energy, electro-coat"),
    "powder": ("喷粉电能", "Energy, powder"),
    "oven": ("固化炉电能", "Energy, oven"),
    "conveyor": ("输送线电能", "Energy, conveyor"),
}
_STATION_TITLES = {
    "load": ("上件", "Loading"),
    "blast": ("抛丸", "Blasting"),
    "degrease": ("脱脂", "Degreasing"),
    "rinse1": ("水洗一", "Rinse 1"),
    "conversion": ("锆化", "Conversion"),
    "rinse2": ("水洗二", "Rinse 2"),
    "ecoat": ("电泳", "Electro-coat"),
    "uf-rinse": ("超滤水洗", "UF rinse"),
    "powder": ("喷粉", "Powder"),
    "unload": ("下件", "Unloading"),
}


def _carrier(station: str) -> Get:
    """The number of the carrier that is worked on there; 0 where there is none."""

    def get(shop: Workshop) -> int:
        found = shop.line.working(station)
        return found.id if found else 0

    return get


def _phase_voltage(n: int) -> Get:
    return lambda w: w.utilities.electricity.voltages[n]


def _phase_current(n: int) -> Get:
    return lambda w: w.utilities.electricity.currents[n]


def _area_energy(area: str) -> Get:
    return lambda w: w.utilities.electricity.areas[area].total / 10.0


UTILITIES = Device(
    name="utilities",
    title=t("公用工程与输送线 PLC（模拟）", "Utilities and conveyor PLC (simulated)"),
    model="PLC with meter gateway",
    latency_s=0.012,
    max_registers=100,
    illegal=(("input", 60, 99), ("input", 150, 65535)),
    signals=(
        *(
            _in(name=f"utilities/electricity/voltage{n + 1}", title=t(f"L{n + 1} 相电压",
                                                                      f"Voltage L{n + 1}"),
                address=2 * n, unit="V", get=_phase_voltage(n), low=200, high=260,
                deadband=0.1)
            for n in range(3)
        ),
        *(
            _in(name=f"utilities/electricity/current{n + 1}", title=t(f"L{n + 1} 相电流",
                                                                      f"Current L{n + 1}"),
                address=6 + 2 * n, unit="A", get=_phase_current(n), low=0, high=1200,
                deadband=0.5)
            for n in range(3)
        ),
        _in(name="utilities/electricity/power", title=t("有功功率", "Active power"), address=12, unit="kW",
            get=lambda w: w.utilities.electricity.power, low=0, high=800, deadband=0.2),
        _in(name="utilities/electricity/reactive", title=t("无功功率", "Reactive power"), address=14,
            unit="kvar",
            type=Type.I32, scale=0.01, get=lambda w: w.utilities.electricity.reactive, low=-200, high=400),
        _in(name="utilities/electricity/factor", title=t("功率因数", "Power factor"), address=16,
            type=Type.I16,
            scale=0.001, get=lambda w: w.utilities.electricity.factor, low=0, high=1),
        _in(name="utilities/electricity/frequency", title=t("电网频率", "Grid frequency"), address=17,
            unit="Hz",
            type=Type.U16, scale=0.01, get=lambda w: w.utilities.electricity.frequency, low=49, high=51),
        _in(name="utilities/electricity/energy", title=t("正向有功电能", "Active energy"), address=20,
            unit="W.h",
            type=Type.U64, get=lambda w: w.utilities.electricity.energy.total),
        _in(name="utilities/electricity/reactive-energy", title=t("净无功电能", "Reactive energy, net"),
            address=24,
            unit="var.h", type=Type.I64, get=lambda w: w.utilities.electricity.reactive_energy.total),
        *(
            _in(name=f"utilities/energy/{area}", title=t(*_AREA_TITLES[area]), address=30 + 2 * n,
                unit="kW.h",
                type=Type.U32, order=Order.CDAB, scale=0.1,
                get=_area_energy(area), every="5s")
            for n, area in enumerate(AREAS)
        ),
        _in(name="utilities/gas/total", title=t("燃气表读数", "Gas meter"), address=44, unit="m3",
            type=Type.F64,
            get=lambda w: w.utilities.gas_total.total / 100.0),
        _in(name="utilities/air/pressure", title=t("压缩空气压力", "Compressed air pressure"), address=100,
            unit="bar",
            get=lambda w: w.utilities.air_pressure, low=0, high=10, deadband=0.01),
        _in(name="utilities/air/flow", title=t("压缩空气流量", "Compressed air flow"), address=102,
            unit="m3/h",
            get=lambda w: w.utilities.air_flow, low=0, high=600, deadband=0.5),
        _in(name="utilities/air/dew-point", title=t("压缩空气露点", "Compressed air dew point"), address=104,
            unit="Cel", get=lambda w: w.utilities.air_dew_point, low=-20, high=20, every="5s", deadband=0.05),
        _in(name="utilities/air/compressor-current", title=t("空压机电流", "Compressor current"), address=106,
            unit="A", get=lambda w: w.utilities.compressor_current, low=0, high=120, deadband=0.1),
        _in(name="utilities/air/total", title=t("压缩空气累计", "Compressed air total"), address=108,
            unit="m3",
            type=Type.U32, get=lambda w: w.utilities.air_total.total, every="5s"),
        _in(name="utilities/gas/pressure", title=t("燃气压力", "Gas pressure"), address=110, unit="kPa",
            get=lambda w: w.utilities.gas_pressure, low=0, high=40, deadband=0.02),
        _in(name="utilities/chiller/supply", title=t("冷冻水供水温度", "Chilled water supply"), address=112,
            unit="Cel", get=lambda w: w.utilities.chilled, low=0, high=40, deadband=0.02),
        _in(name="utilities/chiller/return", title=t("冷冻水回水温度", "Chilled water return"), address=114,
            unit="Cel", get=lambda w: w.utilities.chilled_return, low=0, high=40, deadband=0.02),
        _in(name="utilities/chiller/flow", title=t("冷冻水流量", "Chilled water flow"), address=116,
            unit="m3/h",
            get=lambda w: w.utilities.chilled_flow, low=0, high=40, every="5s"),
        _in(name="utilities/chiller/current", title=t("冷水机电流", "Chiller current"), address=118, unit="A",
            get=lambda w: w.utilities.chiller_current, low=0, high=150, deadband=0.1),
        _in(name="utilities/water/conductivity", title=t("纯水电导率", "Deionised water conductivity"),
            address=120,
            unit="uS/cm", get=lambda w: w.utilities.di_conductivity, low=0, high=20, every="5s",
            deadband=0.02),
        _in(name="utilities/hall/temperature", title=t("车间温度", "Hall temperature"), address=122,
            unit="Cel",
            get=lambda w: w.utilities.ambient, low=-10, high=45, every="5s", deadband=0.02),
        _in(name="utilities/hall/humidity", title=t("车间湿度", "Hall humidity"), address=124, unit="%",
            get=lambda w: w.utilities.humidity, low=0, high=100, every="5s", deadband=0.05),
        _bit(name="utilities/chiller/running", title=t("冷水机运行", "Chiller runs"), address=0,
             get=lambda w: w.utilities.chiller_running),
        _bit(name="utilities/air/loaded", title=t("空压机加载", "Compressor loaded"), address=1,
             get=lambda w: w.utilities.compressor_loaded),
        _bit(name="conveyor/drive/tripped", title=t("输送线过载跳闸", "Conveyor overload trip"), address=8,
             get=lambda w: w.line.tripped, every="500ms"),
        _reg(name="conveyor/chain/speed", title=t("主链速度", "Chain speed"), address=0, unit="m/min",
             get=lambda w: w.line.speed, low=0, high=16, every="500ms", deadband=0.01),
        _reg(name="conveyor/chain/setpoint", title=t("主链速度设定", "Chain speed set-point"), address=2,
             unit="m/min",
             get=lambda w: w.line.setpoint, put=setter("line.setpoint", 4, 15), low=4, high=15),
        _reg(name="conveyor/oven-chain/speed", title=t("炉内链速度", "Oven chain speed"), address=4,
             unit="m/min",
             get=lambda w: w.line.oven_speed, low=0, high=4, every="500ms", deadband=0.002),
        _reg(name="conveyor/oven-chain/setpoint", title=t("炉内链速度设定", "Oven chain speed set-point"),
             address=6,
             unit="m/min", get=lambda w: w.line.oven_setpoint, put=setter("line.oven_setpoint", 0.8, 3),
             low=0.8,
             high=3),
        _reg(name="conveyor/drive/current", title=t("主链驱动电流", "Chain drive current"), address=8,
             unit="A",
             get=lambda w: w.line.current, low=0, high=40, deadband=0.05),
        _reg(name="conveyor/oven-drive/current", title=t("炉内链驱动电流", "Oven chain drive current"),
             address=10,
             unit="A", get=lambda w: w.line.oven_current, low=0, high=20, deadband=0.05),
        _reg(name="conveyor/parts/on-line", title=t("在线件数", "Parts on the line"), address=12,
             type=Type.U16,
             get=lambda w: w.line.on_line, low=0, high=24),
        _reg(name="conveyor/parts/hung", title=t("累计上件", "Parts hung"), address=14, type=Type.U32,
             get=lambda w: w.line.hung),
        _reg(name="conveyor/parts/taken", title=t("累计下件", "Parts taken off"), address=16, type=Type.U32,
             get=lambda w: w.line.taken),
        *(
            _reg(name=f"conveyor/{s.id}/carrier", title=t(f"{_STATION_TITLES[s.id][0]}工位吊具号",
                 f"Carrier at: {_STATION_TITLES[s.id][1]}"), address=40 + n, type=Type.U16,
                 get=_carrier(s.id))
            for n, s in enumerate(STATIONS)
        ),
        Signal(name="conveyor/command/run", title=t("输送线运行命令", "Conveyor run command"), area="coil",
               address=0,
               type=Type.BOOL, get=lambda w: w.line.running, put=switch("line.running")),
        Signal(name="conveyor/command/reset", title=t("输送线故障复位", "Conveyor reset"), area="coil",
               address=1,
               type=Type.BOOL, get=lambda w: w.pressed("conveyor-reset"),
               put=button("conveyor-reset", lambda w: w.line.reset())),
    ),
)  # fmt: skip

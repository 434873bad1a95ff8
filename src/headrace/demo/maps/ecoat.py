"""Electro-coat bath: a PLC with the low word first, 64-bit totals, states as discrete inputs."""

from __future__ import annotations

from functools import partial

from headrace.demo.maps._setpoint import button, setter, t
from headrace.demo.physics.ecoat import ANODES
from headrace.demo.signals import Device, Get, Signal
from headrace.drivers.modbus.values import Order, Type

_reg = partial(Signal, area="holding", order=Order.CDAB)
_bit = partial(Signal, area="discrete", type=Type.BOOL)


def _anode_current(n: int) -> Get:
    return lambda w: w.ecoat.rectifier.anodes[n]


def _pump_current(n: int) -> Get:
    return lambda w: w.ecoat.pump_currents[n]


def _pump_runs(n: int) -> Get:
    return lambda w: w.ecoat.pumps[n]


ECOAT = Device(
    name="ecoat",
    title=t("电泳槽 PLC（模拟）", "Electro-coat PLC (simulated)"),
    model="PLC with word-swapped floats",
    latency_s=0.010,
    max_registers=120,
    illegal=(("holding", 90, 199), ("holding", 260, 399)),
    signals=(
        _reg(name="ecoat/bath/temperature", title=t("槽液温度", "Bath temperature"), address=0, unit="Cel",
             get=lambda w: w.ecoat.temperature, low=20, high=40, deadband=0.01),
        _reg(name="ecoat/bath/probe2", title=t("槽液温度（二号探头）", "Bath temperature, second probe"),
             address=2,
             unit="Cel", get=lambda w: w.ecoat.probe2, low=20, high=40, deadband=0.01),
        _reg(name="ecoat/bath/setpoint", title=t("槽液温度设定", "Bath temperature set-point"), address=4,
             unit="Cel",
             get=lambda w: w.ecoat.setpoint, put=setter("ecoat.setpoint", 26, 34), low=26, high=34),
        _reg(name="ecoat/bath/ph", title=t("槽液 pH", "Bath pH"), address=6, unit="[pH]",
             get=lambda w: w.ecoat.ph, low=5, high=7, deadband=0.005),
        _reg(name="ecoat/bath/conductivity", title=t("槽液电导率", "Bath conductivity"), address=8,
             unit="uS/cm",
             get=lambda w: w.ecoat.conductivity, low=800, high=2200, deadband=0.5),
        _reg(name="ecoat/bath/solids", title=t("固体份", "Bath solids"), address=10, unit="%",
             get=lambda w: w.ecoat.solids, low=10, high=25, deadband=0.01),
        _reg(name="ecoat/bath/level", title=t("槽液液位", "Bath level"), address=12, unit="%",
             get=lambda w: w.ecoat.level, low=0, high=100, deadband=0.1),
        _reg(name="ecoat/cooling/valve", title=t("冷却阀开度", "Cooling valve"), address=14, unit="%",
             get=lambda w: w.ecoat.valve * 100.0, low=0, high=100, deadband=0.2),
        _reg(name="ecoat/anolyte/conductivity", title=t("阳极液电导率", "Anolyte conductivity"), address=16,
             unit="uS/cm", get=lambda w: w.ecoat.anolyte, low=0, high=2000, deadband=1),
        _reg(name="ecoat/anolyte/flow", title=t("阳极液流量", "Anolyte flow"), address=18, unit="L/h",
             get=lambda w: w.ecoat.anolyte_flow, low=0, high=2500, every="5s"),
        _reg(name="ecoat/filter/pressure", title=t("袋式过滤器压差", "Bag filter differential pressure"),
             address=20,
             unit="bar", get=lambda w: w.ecoat.filter_drop, low=0, high=1.5, every="5s", deadband=0.001),
        _reg(name="ecoat/rectifier/setpoint", title=t("电泳电压设定", "Deposition voltage set-point"),
             address=22,
             unit="V", get=lambda w: w.ecoat.rectifier.setpoint, low=0, high=400,
             put=setter("ecoat.rectifier.setpoint", 150, 360)),
        _reg(name="ecoat/rectifier/voltage", title=t("整流电压", "Rectifier voltage"), address=24, unit="V",
             get=lambda w: w.ecoat.rectifier.voltage, low=0, high=400, every="500ms", deadband=0.2),
        _reg(name="ecoat/rectifier/current", title=t("整流电流", "Rectifier current"), address=26, unit="A",
             get=lambda w: w.ecoat.rectifier.current, low=0, high=300, every="500ms", deadband=0.1),
        _reg(name="ecoat/rectifier/ripple", title=t("纹波系数", "Ripple"), address=28, unit="%",
             get=lambda w: w.ecoat.rectifier.ripple, low=0, high=10, deadband=0.02),
        _reg(name="ecoat/rectifier/charge", title=t("本件库仑量", "Charge of this part"), address=30,
             unit="C",
             get=lambda w: w.ecoat.rectifier.charge, low=0, high=20000, deadband=1),
        _reg(name="ecoat/rectifier/heat-sink", title=t("整流器散热器温度", "Rectifier heat sink temperature"),
             address=32, unit="Cel", get=lambda w: w.ecoat.rectifier.heat_sink, low=0, high=90, deadband=0.1),
        _reg(name="ecoat/rectifier/power", title=t("整流功率", "Rectifier power"), address=34, unit="kW",
             get=lambda w: w.ecoat.rectifier.power, low=0, high=90, deadband=0.05),
        _reg(name="ecoat/rectifier/total", title=t("累计电量", "Total charge"), address=36, unit="C",
             type=Type.U64,
             get=lambda w: w.ecoat.rectifier.ampere_seconds.total),
        *(
            _reg(name=f"ecoat/anode{n + 1}/current", title=t(f"{n + 1} 号阳极电流", f"Anode {n + 1} current"),
                 address=200 + 4 * n, unit="A", get=_anode_current(n), low=0, high=60,
                 deadband=0.05)
            for n in range(ANODES)
        ),
        _reg(name="ecoat/uf/flux", title=t("超滤透过量", "Ultrafilter flux"), address=240, unit="L/h",
             get=lambda w: w.ecoat.uf.flux, low=0, high=800, deadband=1),
        _reg(name="ecoat/uf/inlet", title=t("超滤进口压力", "Ultrafilter inlet pressure"), address=242,
             unit="bar",
             get=lambda w: w.ecoat.uf.inlet, low=0, high=6, deadband=0.01),
        _reg(name="ecoat/uf/outlet", title=t("超滤出口压力", "Ultrafilter outlet pressure"), address=244,
             unit="bar",
             get=lambda w: w.ecoat.uf.outlet, low=0, high=6, deadband=0.01),
        _reg(name="ecoat/uf/volume", title=t("累计透过液", "Permeate total"), address=246, unit="L",
             type=Type.U32,
             get=lambda w: w.ecoat.uf.volume.total, every="5s"),
        *(
            _reg(name=f"ecoat/pump{n + 1}/current", title=t(f"{n + 1} 号循环泵电流",
                                                            f"Circulation pump {n + 1} current"),
                 address=250 + 2 * n, unit="A", get=_pump_current(n), low=0, high=40,
                 deadband=0.05)
            for n in range(3)
        ),
        *(
            _bit(name=f"ecoat/pump{n + 1}/running", title=t(f"{n + 1} 号循环泵运行",
                                                            f"Circulation pump {n + 1} runs"),
                 address=n, get=_pump_runs(n))
            for n in range(3)
        ),
        _bit(name="ecoat/rectifier/energised", title=t("整流器带电", "Rectifier energised"), address=8,
             get=lambda w: w.ecoat.rectifier.energised, every="500ms"),
        _bit(name="ecoat/bath/makeup", title=t("补漆中", "Paint make-up"), address=9,
             get=lambda w: w.ecoat.makeup),
        _bit(name="ecoat/anolyte/flush", title=t("阳极液排放", "Anolyte flush"), address=10,
             get=lambda w: w.ecoat.anolyte_flush),
        _reg(name="ecoat/cycle/phase", title=t("工艺步（0 等待 1 入槽 2 升压 3 保压 4 出槽）",
             "Step (0 wait, 1 lower, 2 ramp, 3 hold, 4 raise)"), address=400, type=Type.U16,
             get=lambda w: w.ecoat.step_name),
        _reg(name="ecoat/cycle/film", title=t("上一件漆膜厚度", "Film of the last part"), address=402,
             unit="um",
             get=lambda w: w.ecoat.last_film, low=0, high=40),
        _reg(name="ecoat/cycle/parts", title=t("累计电泳件数", "Parts coated"), address=404, type=Type.U32,
             get=lambda w: w.ecoat.parts.total, every="5s"),
        _reg(name="ecoat/bath/made-up", title=t("累计补漆量", "Paint fed"), address=406, unit="mL",
             type=Type.U32,
             get=lambda w: w.ecoat.made_up.total, every="5s"),
        _reg(name="ecoat/part/number", title=t("在槽工件号", "Part in the bath"), address=410,
             type=Type.STRING,
             length=16, order=Order.ABCD, get=lambda w: w.ecoat.part.number if w.ecoat.part else ""),
        _reg(name="ecoat/part/last", title=t("上一件工件号", "Last part"), address=418, type=Type.STRING,
             length=16,
             order=Order.ABCD, get=lambda w: w.ecoat.last_number),
        Signal(name="ecoat/command/clean-uf", title=t("超滤清洗", "Wash the ultrafilter"), area="coil",
               address=0,
               type=Type.BOOL, get=lambda w: w.pressed("clean-uf"),
               put=button("clean-uf", lambda w: w.ecoat.uf.clean())),
    ),
)  # fmt: skip

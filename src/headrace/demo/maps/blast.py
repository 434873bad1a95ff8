"""Shot blaster: a PLC that shows everything as big-endian floats in holding registers, states as bits of
one word."""

from __future__ import annotations

from functools import partial

from headrace.demo.maps._setpoint import button, setter, switch, t
from headrace.demo.physics.blast import WHEELS
from headrace.demo.signals import Device, Signal
from headrace.drivers.modbus.values import Type

_reg = partial(Signal, area="holding")


def _wheel(n: int) -> list[Signal]:
    at, zh, en = 100 + 20 * n, f"{n + 1} 号抛头", f"Wheel {n + 1}"
    name = f"blast/wheel{n + 1}"
    return [
        _reg(name=f"{name}/current", title=t(f"{zh}电流", f"{en} current"), address=at, unit="A",
             get=lambda w: w.blaster.wheels[n].current, low=0, high=40, deadband=0.1),
        _reg(name=f"{name}/speed", title=t(f"{zh}转速", f"{en} speed"), address=at + 2, unit="/min",
             get=lambda w: w.blaster.wheels[n].speed, low=0, high=3200, deadband=1.0),
        _reg(name=f"{name}/vibration", title=t(f"{zh}振动", f"{en} vibration"), address=at + 4, unit="mm/s",
             get=lambda w: w.blaster.wheels[n].vibration, low=0, high=11, deadband=0.05),
        _reg(name=f"{name}/bearing", title=t(f"{zh}轴承温度", f"{en} bearing temperature"), address=at + 6,
             unit="Cel", get=lambda w: w.blaster.wheels[n].bearing, low=0, high=110, every="5s",
             deadband=0.2),
    ]  # fmt: skip


_STATES = (
    ("running", "运行", "Running", lambda w: w.blaster.running and not w.blaster.emergency_stop),
    ("blasting", "抛丸中", "Blasting", lambda w: w.blaster.blasting),
    ("entry-open", "进口门开", "Entry door open", lambda w: w.blaster.entry_open),
    ("exit-open", "出口门开", "Exit door open", lambda w: w.blaster.exit_open),
    ("emergency-stop", "急停", "Emergency stop", lambda w: w.blaster.emergency_stop),
)

BLAST = Device(
    name="blast",
    title=t("抛丸机 PLC（模拟）", "Shot blaster PLC (simulated)"),
    model="PLC with Modbus TCP server",
    latency_s=0.006,
    jitter_s=0.003,
    illegal=(("holding", 0, 99), ("holding", 460, 65535)),
    signals=(
        *(signal for n in range(WHEELS) for signal in _wheel(n)),
        _reg(name="blast/dust/pressure", title=t("除尘器压差", "Dust filter differential pressure"),
             address=300,
             unit="Pa", get=lambda w: w.blaster.dust.pressure, low=0, high=3000, deadband=5),
        _reg(name="blast/dust/airflow", title=t("除尘风量", "Dust extraction air flow"), address=302,
             unit="m3/h",
             get=lambda w: w.blaster.dust.flow, low=0, high=25000, deadband=20),
        _reg(name="blast/dust/fan-current", title=t("除尘风机电流", "Dust fan current"), address=304,
             unit="A",
             get=lambda w: w.blaster.dust.current, low=0, high=45, deadband=0.1),
        _reg(name="blast/dust/frequency", title=t("除尘风机频率设定", "Dust fan frequency set-point"),
             address=306,
             unit="Hz", get=lambda w: w.blaster.dust.frequency, low=0, high=50,
             put=setter("blaster.dust.frequency", 20, 50)),
        _reg(name="blast/dust/bin-level", title=t("集尘斗料位", "Dust bin level"), address=308, unit="%",
             get=lambda w: w.blaster.dust.level, low=0, high=100, every="10s", deadband=0.2),
        _reg(name="blast/dust/pulses", title=t("脉冲清灰次数", "Cleaning pulses"), address=310, type=Type.U32,
             get=lambda w: w.blaster.dust.pulses.total, every="10s"),
        _reg(name="blast/shot/level", title=t("钢丸料位", "Shot level"), address=400, unit="%",
             get=lambda w: w.blaster.hopper, low=0, high=100, every="5s", deadband=0.1),
        _reg(name="blast/shot/feed", title=t("单轮供丸量设定", "Shot feed set-point for each wheel"),
             address=402,
             unit="kg/min", get=lambda w: w.blaster.feed_setpoint, low=0, high=320,
             put=setter("blaster.feed_setpoint", 0, 320)),
        _reg(name="blast/wheels/speed", title=t("抛头转速设定", "Wheel speed set-point"), address=404,
             unit="/min",
             get=lambda w: w.blaster.wheel_setpoint, low=0, high=3200,
             put=setter("blaster.wheel_setpoint", 1500, 3000)),
        _reg(name="blast/elevator/current", title=t("提升机电流", "Elevator current"), address=406, unit="A",
             get=lambda w: w.blaster.elevator_current, low=0, high=25, deadband=0.1),
        _reg(name="blast/separator/current", title=t("分离器电流", "Separator current"), address=408,
             unit="A",
             get=lambda w: w.blaster.separator_current, low=0, high=12, deadband=0.05),
        _reg(name="blast/hanger/speed", title=t("吊具自转转速", "Hanger rotation"), address=410, unit="/min",
             get=lambda w: w.blaster.hanger_speed, low=0, high=12, deadband=0.05),
        _reg(name="blast/cycle/remaining", title=t("本件剩余时间", "Time left for this part"), address=412,
             unit="s",
             get=lambda w: w.blaster.remaining, low=0, high=120),
        _reg(name="blast/cycle/parts", title=t("累计抛丸件数", "Parts blasted"), address=414, type=Type.U32,
             get=lambda w: w.blaster.parts.total, every="5s"),
        _reg(name="blast/shot/refills", title=t("补丸次数", "Shot refills"), address=416, type=Type.U16,
             get=lambda w: w.blaster.refills.total, every="10s"),
        _reg(name="blast/cycle/seconds", title=t("累计运行时间", "Running time"), address=418, unit="s",
             type=Type.U32, get=lambda w: w.blaster.seconds.total, every="10s"),
        _reg(name="blast/part/number", title=t("在位工件号", "Part in the machine"), address=420,
             type=Type.STRING,
             length=16, get=lambda w: w.blaster.part.number if w.blaster.part else ""),
        *(
            _reg(name=f"blast/state/{key}", title=t(zh, en), address=440, type=Type.BOOL, bit=n, get=get,
                 every="500ms")
            for n, (key, zh, en, get) in enumerate(_STATES)
        ),
        Signal(name="blast/command/run", title=t("运行命令", "Run command"), area="coil", address=0,
               type=Type.BOOL,
               get=lambda w: w.blaster.running, put=switch("blaster.running")),
        Signal(name="blast/command/change-bags", title=t("更换滤袋完成", "Bags changed"), area="coil",
               address=1,
               type=Type.BOOL, get=lambda w: w.pressed("change-bags"),
               put=button("change-bags", lambda w: w.blaster.dust.change_bags())),
    ),
)  # fmt: skip

"""Screens of the machines: the plant overview (display level 1 of ISA-101), one page a machine (level 2)."""

from headrace.kernel.messages import Text
from headrace.ui import (
    AlarmList,
    LineMimic,
    MachineCards,
    MachineHeader,
    Param,
    Query,
    Row,
    Screen,
    Stat,
    Stats,
    TagTable,
    WriteAudit,
    WriteControl,
)

OVERVIEW = Screen(
    id="overview",
    path="/",
    title=Text(zh="全厂总览", en="Plant overview"),
    icon="overview",
    order=10,
    rows=(
        Row(
            (
                Stats(
                    query=Query("/summary", topic="summary"),
                    items=(
                        Stat(
                            field="alarms.active",
                            title=Text(zh="活动报警", en="Active alarms"),
                            attention=0,
                            help=Text(
                                zh="条件仍成立的报警，不含已搁置的",
                                en="alarms whose condition holds, shelved ones aside",
                            ),
                            link="/alarms",
                        ),
                        Stat(
                            field="alarms.unacknowledged",
                            title=Text(zh="待确认报警", en="To acknowledge"),
                            attention=0,
                            help=Text(zh="尚无人确认的报警", en="alarms that nobody has acknowledged yet"),
                            link="/alarms",
                        ),
                        Stat(
                            field="completeness",
                            title=Text(zh="数据完好率", en="Data completeness"),
                            format="percent",
                            attention_below=0.98,
                            help=Text(
                                zh="当前质量为“好”或“不确定”且未过期的测点占全部测点的比例",
                                en="share of all tags whose value is good or uncertain, and not stale",
                            ),
                            link="/gateway",
                        ),
                        Stat(
                            field="values_per_s",
                            title=Text(zh="采集速率", en="Values read"),
                            format="rate",
                            help=Text(
                                zh="各连接每秒读到的值数之和", en="values read per second, all connections"
                            ),
                            link="/gateway",
                        ),
                        Stat(
                            field="oldest_ms",
                            title=Text(zh="最旧数据", en="Oldest value"),
                            format="duration_ms",
                            help=Text(
                                zh="各测点最新值中最早的一个距今多久（按变化上报的测点至多为其心跳周期）",
                                en="age of the oldest among the newest values of all tags (one that reports "
                                "on change is at most its heartbeat old)",
                            ),
                            link="/gateway",
                        ),
                    ),
                ),
            )
        ),
        Row((LineMimic(title=Text(zh="产线", en="Line")),)),
        Row(
            (
                MachineCards(span=8, title=Text(zh="设备", en="Machines")),
                AlarmList(
                    span=4,
                    title=Text(zh="当前报警", en="Alarms now"),
                    query=Query(
                        "/alarms", params={"state": "active-unack,active-ack,cleared-unack"}, topic="alarms"
                    ),
                    actions=("acknowledge",),
                    filters=(),
                    page=10,
                    compact=True,
                ),
            )
        ),
    ),
)

MACHINE = Screen(
    id="machine",
    path="/machines/:machine",
    title=Text(zh="设备", en="Machine"),
    icon="machine",
    order=20,
    menu=False,
    params=(Param("machine"),),
    rows=(
        Row((MachineHeader(),)),
        Row((TagTable(title=Text(zh="实时数据", en="Live values")),)),
        Row(
            (
                WriteControl(span=4, title=Text(zh="设定", en="Set values")),
                AlarmList(
                    span=8,
                    title=Text(zh="本机报警", en="Alarms of this machine"),
                    query=Query("/alarms", params={"machine": "{machine}"}, topic="alarms"),
                    filters=("state",),
                    page=20,
                ),
            )
        ),
        Row(
            (
                WriteAudit(
                    title=Text(zh="写入记录", en="Writes"),
                    query=Query("/writes", params={"machine": "{machine}"}, every_ms=10_000),
                ),
            )
        ),
    ),
)

SCREENS = (OVERVIEW, MACHINE)

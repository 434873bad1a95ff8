"""The workshop's machines in the order of the line, and their parts in the order in which one walks by them.

The key of a part is what stands between machine and measurement in its tags' names. Parts of one title are
shown as one: eight anodes with one current each are not eight headings.
"""

from __future__ import annotations

from headrace.kernel.messages import Text
from headrace.twin import Machine


def _t(zh: str, en: str) -> Text:
    return Text(zh=zh, en=en)


_CYCLE = _t("节拍与产量", "Cycle and output")
_PART = _t("工件", "Workpiece")
_STATE = _t("运行状态", "Running state")
_COMMAND = _t("操作命令", "Commands")
_ANODES = _t("阳极", "Anodes")
_PUMPS = _t("循环泵", "Circulation pumps")
_STATIONS = _t("各工位吊具", "Carriers at the stations")

_BLAST = {
    "state": _STATE,
    "part": _PART,
    "cycle": _CYCLE,
    "wheels": _t("抛头（全部）", "Wheels, all"),
    **{f"wheel{n}": _t(f"{n} 号抛头", f"Wheel {n}") for n in range(1, 7)},
    "shot": _t("钢丸", "Shot"),
    "elevator": _t("提升机", "Elevator"),
    "separator": _t("分离器", "Separator"),
    "hanger": _t("吊具", "Hanger"),
    "dust": _t("除尘器", "Dust filter"),
    "command": _COMMAND,
}
_PRETREATMENT = {
    "": _CYCLE,
    "degrease1": _t("预脱脂", "Pre-degreasing"),
    "degrease2": _t("脱脂", "Degreasing"),
    "rinse1": _t("水洗一", "Rinse 1"),
    "conversion": _t("锆化", "Zirconium conversion"),
    "rinse2": _t("水洗二", "Rinse 2"),
    "di-rinse": _t("纯水洗", "Deionised water rinse"),
}
_ECOAT = {
    "part": _PART,
    "cycle": _CYCLE,
    "rectifier": _t("整流器", "Rectifier"),
    **{f"anode{n}": _ANODES for n in range(1, 9)},
    "bath": _t("槽液", "Bath"),
    "cooling": _t("冷却", "Cooling"),
    **{f"pump{n}": _PUMPS for n in range(1, 4)},
    "filter": _t("袋式过滤器", "Bag filter"),
    "anolyte": _t("阳极液", "Anolyte"),
    "uf": _t("超滤", "Ultrafilter"),
    "command": _COMMAND,
}
_POWDER = {
    "state": _STATE,
    "part": _PART,
    "cycle": _CYCLE,
    "booth": _t("喷房", "Booth"),
    "guns": _t("喷枪（全部）", "Guns, all"),
    **{f"gun{n}": _t(f"{n} 号枪", f"Gun {n}") for n in range(1, 9)},
    "reciprocator": _t("往复机", "Reciprocator"),
    "powder": _t("粉末", "Powder"),
    "hopper": _t("粉桶", "Hopper"),
    "cyclone": _t("旋风分离器", "Cyclone"),
    "filter": _t("后级滤芯", "After-filter"),
}
_OVEN = {
    "flash": _t("烘干段", "Drying"),
    **{f"zone{n}": _t(f"固化{'一二三四'[n - 1]}区", f"Zone {n}") for n in range(1, 5)},
    "chamber": _t("炉膛", "Chamber"),
    "exhaust": _t("排废", "Exhaust"),
    "gas": _t("燃气", "Gas"),
    "cure": _t("固化质量", "Cure"),
}
_CONVEYOR = {
    "chain": _t("主链", "Main chain"),
    "drive": _t("主链驱动", "Main chain drive"),
    "oven-chain": _t("炉内链", "Oven chain"),
    "oven-drive": _t("炉内链驱动", "Oven chain drive"),
    "parts": _t("件数", "Parts"),
    **dict.fromkeys(
        ("load", "blast", "degrease", "rinse1", "conversion", "rinse2", "ecoat", "uf-rinse", "powder",
         "unload"),
        _STATIONS,
    ),
    "command": _COMMAND,
}  # fmt: skip
_UTILITIES = {
    "electricity": _t("供电", "Electricity"),
    "energy": _t("各工序电能", "Energy by process"),
    "gas": _t("燃气", "Gas"),
    "air": _t("压缩空气", "Compressed air"),
    "chiller": _t("冷水机", "Chiller"),
    "water": _t("纯水", "Deionised water"),
    "hall": _t("车间环境", "Hall"),
}
_HOST = {
    "": _t("整机", "Whole computer"),
    "cpu": _t("处理器", "Processor"),
    "memory": _t("内存", "Memory"),
    "disk": _t("磁盘", "Disk"),
    "network": _t("网络", "Network"),
}


def _machine(zh: str, en: str, kind: str, parts: dict[str, Text], *, beside: bool = False) -> Machine:
    return Machine(title=_t(zh, en), kind=kind, beside=beside, parts=parts)


MACHINES: dict[str, Machine] = {
    "blast": _machine("抛丸机（模拟）", "Shot blaster (simulated)", "shot-blaster", _BLAST),
    "pretreatment": _machine(
        "前处理（模拟）", "Pretreatment (simulated)", "pretreatment-line", _PRETREATMENT
    ),
    "ecoat": _machine("阴极电泳槽（模拟）", "Electro-coat bath (simulated)", "electrocoat-bath", _ECOAT),
    "powder": _machine("喷粉房（模拟）", "Powder booth (simulated)", "powder-booth", _POWDER),
    "oven": _machine("固化炉（模拟）", "Curing oven (simulated)", "curing-oven", _OVEN),
    "conveyor": _machine("输送线（模拟）", "Conveyor (simulated)", "conveyor", _CONVEYOR, beside=True),
    "utilities": _machine("公用工程（模拟）", "Utilities (simulated)", "utilities", _UTILITIES, beside=True),
    "host": _machine("本机（真实）", "This computer (real)", "computer", _HOST, beside=True),
}
"""The process steps in order, then what serves them all: the conveyor carries through every step."""

"""Headrace (引泉): an open industrial internet for a manufacturing region.

The life of a point: machine → driver (`read` → Batch) → edge (plan, schedule, deadband, buffer) → bus
(acknowledged, deduplicated) → ingest → history and last values → rules (alarms) → api stream → console.
Each folder below is one room; its docstring says what enters, what leaves and what it may import.
"""

__version__ = "0.1.0"

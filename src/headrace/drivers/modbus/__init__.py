"""Modbus TCP, RTU over TCP and RTU over a serial line."""

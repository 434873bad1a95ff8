"""A serial device as an asyncio transport: opened and set up by pyserial, read by the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import Final

import serial

from headrace.drivers.modbus.points import Parity, Settings

_PARITY: Final = {
    Parity.NONE: serial.PARITY_NONE,
    Parity.EVEN: serial.PARITY_EVEN,
    Parity.ODD: serial.PARITY_ODD,
}
_CHUNK: Final = 4096


def frame_gap_s(baudrate: int) -> float:
    """The silence ending an RTU frame: 3.5 characters of 11 bits; 1.75 ms above 19,200 Bd (SL §2.5.1.1)."""
    return 0.00175 if baudrate > 19_200 else 3.5 * 11 / baudrate


class SerialTransport:
    """Feeds `protocol` with what the device sends. Made by `open_serial`."""

    def __init__(
        self, port: serial.Serial, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._port = port
        self._fd = port.fileno()
        self._protocol = protocol
        self._loop = loop
        self._out = b""
        self._open = True
        loop.add_reader(self._fd, self._readable)
        protocol.connection_made(self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        """Send, or queue what the device does not take at once."""
        if self._open:
            self._out += data
            self._writable()

    def abort(self) -> None:
        """Close now; connection_lost follows from the event loop."""
        self._end(None)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:  # the adapter was pulled, or the pseudo-terminal's other side closed
            self._end(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._end(OSError("the serial device ended"))

    def _writable(self) -> None:
        try:
            sent = os.write(self._fd, self._out)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._end(error)
            return
        self._out = self._out[sent:]
        if self._out:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)

    def _end(self, error: OSError | None) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._port.close()
        self._loop.call_soon(self._protocol.connection_lost, error)


def open_serial(
    settings: Settings, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop
) -> SerialTransport:
    """Open `settings.device` for this process alone. Raises OSError where it cannot be opened."""
    port = serial.Serial(
        settings.device,
        baudrate=settings.baudrate,
        bytesize=serial.EIGHTBITS,  # RTU has eight data bits, SL §2.5.1
        parity=_PARITY[settings.parity],
        stopbits=serial.STOPBITS_ONE if settings.stop_bits == 1 else serial.STOPBITS_TWO,
        timeout=0,
        exclusive=True,
    )
    port.reset_input_buffer()
    return SerialTransport(port, protocol, loop)

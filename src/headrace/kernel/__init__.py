"""The kernel: the words every room speaks, and nothing that does I/O.

Enters: bytes, dicts and numbers at the rim. Leaves: Tag, Quality, Batch, errors with codes, configuration,
expressions, and the ports (protocols) that drivers and buses fulfil.
May import: the standard library without sockets and asyncio, numpy, pyarrow, msgspec.
"""

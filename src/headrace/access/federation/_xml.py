"""XML of strangers: no document type, no entities, no network, bounded.

A document type is refused outright, and with it external entities and entity bombs (OWASP XXE).
"""

from __future__ import annotations

from lxml import etree

from headrace.kernel.errors import Denied

MAX_BYTES = 1 << 20
_MAX_DEPTH = 40
_MAX_NODES = 20_000


def parse(data: bytes) -> etree._Element:
    """The root of `data`, without comments and processing instructions. Raises Denied
    (`federation.bad_xml`)."""
    if len(data) > MAX_BYTES:
        raise Denied("federation.bad_xml", reason=f"> {MAX_BYTES} bytes")
    # Comments split a text in two, and a reader that takes the first half reads another name than was signed.
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Denied("federation.bad_xml", reason=str(error)[:120]) from None
    if root is None:
        raise Denied("federation.bad_xml", reason="empty")
    info = root.getroottree().docinfo
    if info.internalDTD is not None or info.externalDTD is not None or info.doctype:
        raise Denied("federation.bad_xml", reason="document type")
    depth = nodes = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "end":
            depth -= 1
            continue
        depth += 1
        nodes += 1
        if depth > _MAX_DEPTH or nodes > _MAX_NODES:
            raise Denied("federation.bad_xml", reason="too deep or too long")
        if not isinstance(element.tag, str):
            raise Denied("federation.bad_xml", reason="entity")
    return root


def text(element: etree._Element | None) -> str:
    """All text of a leaf element, stripped; "" where there is none."""
    return "".join(element.itertext()).strip() if element is not None else ""

"""The register maps of the six controllers: a room of declarations.

Each module makes one Device. They differ as the controllers of a real shop do: in registers and bits, word
order, scaling, text encoding, gaps, request length and speed.
"""

from headrace.demo.maps.blast import BLAST
from headrace.demo.maps.ecoat import ECOAT
from headrace.demo.maps.oven import OVEN
from headrace.demo.maps.powder import POWDER
from headrace.demo.maps.pretreatment import PRETREATMENT
from headrace.demo.maps.utilities import UTILITIES

DEVICES = (BLAST, PRETREATMENT, ECOAT, POWDER, OVEN, UTILITIES)

__all__ = ["DEVICES"]

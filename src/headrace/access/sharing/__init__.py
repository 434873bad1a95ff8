"""Sharing: what an owner lets others read, and what they have read.

Enters: terms of grants from owners; requests to read, with whoever asks and what for. Leaves: signed grants;
data, only through the Gate and only with a record of the read; the list of reads for the owner; tables in
which no firm can be recognised.
May import: access.ids, access.events, access.tenancy, access.identity, access.decisions (its Grant),
access.audit, records, kernel.

`terms` says what a grant is (pure), `signing` whose word it is, `grants` keeps them, `gate` lets through,
`reads` tells the owner, `aggregates` protects tables (pure), `tables` publishes them.
"""

from headrace.access.sharing.gate import Gate, SeriesRequest, Served, Source, Tabled, Visitor
from headrace.access.sharing.grants import Grants, owned_by
from headrace.access.sharing.reads import Read, ReadQuery, Reads, ReadSummary
from headrace.access.sharing.signing import Keys, Signature
from headrace.access.sharing.tables import Definition, Edition, Tables
from headrace.access.sharing.terms import Grant, GrantState, Purpose, Resolution, Subject, Terms, Use

__all__ = [
    "Definition",
    "Edition",
    "Gate",
    "Grant",
    "GrantState",
    "Grants",
    "Keys",
    "Purpose",
    "Read",
    "ReadQuery",
    "ReadSummary",
    "Reads",
    "Resolution",
    "SeriesRequest",
    "Served",
    "Signature",
    "Source",
    "Subject",
    "Tabled",
    "Tables",
    "Terms",
    "Use",
    "Visitor",
    "owned_by",
]

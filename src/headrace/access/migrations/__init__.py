"""Numbered Alembic migrations of the tables of room access, one chain for all its parts."""

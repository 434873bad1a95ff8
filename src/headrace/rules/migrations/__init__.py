"""Numbered Alembic migrations of the alarm tables."""

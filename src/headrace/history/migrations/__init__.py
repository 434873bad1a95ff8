"""The numbered migrations of room history: the tag catalogue."""

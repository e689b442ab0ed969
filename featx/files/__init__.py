"""Files of every kind: named, locked, and replaced so that a crash leaves none half-written."""

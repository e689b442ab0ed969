"""The five tasks on standard image sets, on featx's public API; run from a checkout."""

"""Registered versions: their lineage, promotion, and rebuilding a lost registry."""

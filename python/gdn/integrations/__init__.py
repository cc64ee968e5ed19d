"""Adapters that put libgdn under other libraries' Gated DeltaNet layers."""

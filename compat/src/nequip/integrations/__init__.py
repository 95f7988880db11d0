"""Calculators and interfaces to other programs."""

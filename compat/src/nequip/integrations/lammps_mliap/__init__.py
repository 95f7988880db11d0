"""ML-IAP, LAMMPS' interface to Python."""

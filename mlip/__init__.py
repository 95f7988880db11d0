"""Train NequIP and Allegro potentials, compile them ahead of time, and run them in LAMMPS and ASE."""

__version__ = "0.1.0"

"""Figures and pages about models and runs: numbers in, files out. Knows nothing of training or of model files."""

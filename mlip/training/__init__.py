"""Losses, metrics, Lightning modules, callbacks and the stages of a training run."""

"""Frames in, batched graphs out: readers, data sets, transforms, neighbour lists, statistics."""

"""Transfer learning as plain functions on tensors and modules: layer groups, freezing, cached features."""

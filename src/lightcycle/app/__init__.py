"""The Hydra app: schemas, settings, building, the run. Hydra and W&B live here and nowhere else."""

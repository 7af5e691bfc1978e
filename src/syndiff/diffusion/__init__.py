"""The mathematics of diffusion: noise schedules, objectives and samplers. Tensors only, nothing of files."""

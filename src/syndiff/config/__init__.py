"""The settings: their tree, what verb uses which, presets and configuration files."""

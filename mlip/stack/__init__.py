"""The stack builder: a recipe becomes a lock, an image, an Apptainer file. Needs PyYAML and Jinja2, never torch."""

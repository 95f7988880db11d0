"""From a user's YAML to objects: the table of public names, resolvers, validation. Submodules import Hydra lazily."""

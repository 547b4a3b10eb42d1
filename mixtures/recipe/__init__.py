"""Mixtures as people write them: a YAML file, checked before anything is read."""

from mixtures.recipe.loading import load_mixture, mixture_of
from mixtures.recipe.models import ComponentRecipe, MixtureRecipe

__all__ = ["ComponentRecipe", "MixtureRecipe", "load_mixture", "mixture_of"]

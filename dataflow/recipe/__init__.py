"""Recipes: a YAML file that says what a corpus is made of, checked before anything runs."""

from dataflow.recipe.describe import describe_plan, print_plan
from dataflow.recipe.load import Plans, load_recipe, locked_packages, plan_recipe
from dataflow.recipe.lock import lock, versions
from dataflow.recipe.models import Recipe
from dataflow.recipe.problems import Problem, RecipeError
from dataflow.recipe.source_models import CleanStep, Source

__all__ = [
    "CleanStep",
    "Plans",
    "Problem",
    "Recipe",
    "RecipeError",
    "Source",
    "describe_plan",
    "load_recipe",
    "lock",
    "locked_packages",
    "plan_recipe",
    "print_plan",
    "versions",
]

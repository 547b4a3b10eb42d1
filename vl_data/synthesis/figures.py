"""Names and quantities that tables and charts are about."""

from __future__ import annotations

NAMES: tuple[tuple[str, ...], ...] = (
    ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Iris", "Jon"),
    ("Lima", "Oslo", "Cairo", "Delhi", "Quito", "Rome", "Seoul", "Tunis", "Turin", "Accra"),
    ("apples", "beans", "corn", "dates", "figs", "grapes", "kale", "leeks", "oats", "pears"),
    ("north", "south", "east", "west", "coast", "hills", "delta", "lakes"),
    ("alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa", "theta"),
)
"""Sets that names are drawn from; one set a figure."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

QUANTITIES = (
    "age", "area", "cost", "score", "price", "length", "weight", "output", "rank", "stock",
)  # fmt: skip
"""What a number may say of a name."""

"""Signals, rules and languages: what is measured of a text, and which measurements drop it.

Signals are data (columns, one value a document); rules are predicates over columns. This room
knows neither run folders nor Ray, and works on any Arrow table with the columns a rule names.
"""

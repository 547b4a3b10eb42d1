"""Synthesised instruction data: pictures with questions whose answers are exactly known.

Families: counting, colours, places, boxes, geometry, text, tables, charts (`families.FAMILIES`).
Every sample is a function of its settings and a number (`synthesise.synthesise`); `write` makes a
folder of them. Drawing needs matplotlib, which this package's name alone does not import.
"""

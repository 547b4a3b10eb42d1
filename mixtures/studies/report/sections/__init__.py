"""The sections of a study's page, one a module."""

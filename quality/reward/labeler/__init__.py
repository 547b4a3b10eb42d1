"""Labels by a model: one behind an endpoint, or a checkpoint of the project's own trainer."""

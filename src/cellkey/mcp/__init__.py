"""Run directories for assistants that speak the Model Context Protocol: few verbs, data stay on disk."""

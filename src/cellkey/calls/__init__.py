"""Calls: labels with a path, a status, a reason and a confidence, whoever made them."""

"""Runs in the forms of viewers and archives: one module per form, each with one function that writes its files."""

from cellkey.exports.export import FORMS, export_run

__all__ = ["FORMS", "export_run"]

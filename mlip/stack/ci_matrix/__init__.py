"""CI as a table, ci/matrix.yaml: read and checked, rendered as pipelines, its jobs run by hand."""

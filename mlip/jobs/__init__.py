"""Job scripts for the machines where people run: read a site's profile, render its scripts, explain them.

Needs PyYAML and Jinja2 only, so that it runs on a login node without an environment.
"""

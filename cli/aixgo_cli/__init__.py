"""The command ``aixgo``: a tool for people who run agents, and the entry point of the images.

``main`` and the modules in ``commands`` import nothing heavy at module level: ``aixgo --help`` is fast, and
an image needs only the libraries of the process that it runs.
"""

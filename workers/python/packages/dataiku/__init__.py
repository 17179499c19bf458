"""Names that code of API endpoints imports, as the public documentation describes them.

Only what such code needs on an API node is here: datasets, folders and projects of a design node
are not.
"""

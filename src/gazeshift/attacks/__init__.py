"""One file, one attack: frozen settings, callable on (model, images, labels, generator), giving attacked images.

Every attack says in which norm it stays within `epsilon`: ``norm`` is ``linf``, ``l2`` or None (no bound).
"""

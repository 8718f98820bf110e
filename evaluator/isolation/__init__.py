"""A model file in a process of its own, behind a wall.

`process` is the caller's side: ``open_model`` gives an Embedder, ``ModelProcess`` the process
itself, `several` more of them for one model; `same_process` stands in where there is no wall.
``child`` is what runs in it, `wall` what keeps it from writing and from the network. Nothing but
the standard library is imported until the wall stands.
"""

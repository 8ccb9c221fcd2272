"""What depends on the computer: git worktrees, processes, atomic writes, TensorFlow's environment.

Imports `errors` alone, so that every layer above may use it.
"""

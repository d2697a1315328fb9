"""What `python -m benchmarks.fuzz` tries: valid files, ways to spoil them, and who reads them.

_spoil.py     bytes, JSON and trees of files, spoiled by a random generator
_targets.py   for each parser: valid trees, ways to spoil what is inside them, and the reading
_attempt.py   one attempt, watched: its outcome, its memory, the files that it touched
_batch.py     many attempts in a process of its own, with limits, watched from outside
"""

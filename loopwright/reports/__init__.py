"""Many runs on one page. Reads the folders of runs; starts, changes and imports nothing of them.

found      _found (which folders)   _one_run (what a folder says)   _curve   _sweep_file
compared   _settings -> _group      _student -> _finding            _mean (of curves)
shown      _thin   _ticks   _numbers   _spread (labels)   _chart, _dots (SVG)   _picture   _plot (PNG)
together   _payload -> _page, _text -> _report -> _serve
"""

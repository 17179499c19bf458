"""Calls the unmodified Python client of Dataiku's API node, as its lines of standard input say.

A line {"new": NAME, "class": CLASS, "args": [...]} makes a client; a line
{"of": NAME, "path": [[METHOD, [ARGUMENT...], {KEYWORD: ARGUMENT}]...]} calls the methods one on
the result of the other. Each line is answered by one: what was returned and printed, or what was
raised, with the text that a person would see.
"""

import contextlib
import io
import json
import sys

import dataikuapi

clients = {}


def answer(line):
    if 'new' in line:
        clients[line['new']] = getattr(dataikuapi, line['class'])(*line['args'], **line['keywords'])
        return {'returned': None}
    found = clients[line['of']]
    for method, arguments, keywords in line['path']:
        found = getattr(found, method)(*arguments, **keywords)
    return {'returned': found}


for text in sys.stdin:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            said = answer(json.loads(text))
    except Exception as error:  # Anything that its user would meet.
        said = {'raised': type(error).__name__, 'text': str(error)}
    print(json.dumps({**said, 'printed': printed.getvalue()}), flush=True)

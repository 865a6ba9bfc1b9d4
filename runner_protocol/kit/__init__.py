"""The Python runner kit: authors write `@workflow` functions, a `Runner` answers the engine's turns with them.

workflow   the decorator          context   the helpers a workflow calls      step      runs one step's function
replay     keys, records (pure)   turn      drives the code through a turn    answers   results and errors as actions
runner     `Runner`               server    ASGI, uvicorn                     errors    what authors raise and catch
"""

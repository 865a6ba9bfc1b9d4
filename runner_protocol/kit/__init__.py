"""The Python runner kit: authors write `@workflow` functions, a `Runner` answers the engine's turns with them.

workflow   the decorator          context   the helpers a workflow calls      call      what a helper gives back
replay     keys, records (pure)   turn      drives one turn, line by line     code      the author's function, parked
step       one step's function    running   the steps that run in a turn      answers   results and errors as actions
runner     `Runner`               asgi      the runner as an application      serve     uvicorn, the address
errors     what authors raise and catch
"""

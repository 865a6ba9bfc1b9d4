"""The Python runner kit: authors write `@workflow` functions, a `Runner` answers the engine's turns with them.

What authors meet
  workflow   the decorator            context    the helpers of a workflow    work       those that run steps
  facts      what it knows and notes  options    of steps                     errors     what they raise and catch
  operation  work with a kind         shell      commands                     http       requests
  approval   a decision
One turn
  turn       drives it, line by line  code       the function, parked         ledger     what it asks for and is handed
  replay     keys, records (pure)     call       what a helper gives back     groups     parallel and map
  step       one step's function      running    the steps that run           answers    results as actions
  notes      variables, usage, logs   usage      exact sums                   history    how long the run is
  rehearsal  what would come next
Doors
  runner     `Runner`                 workflows  by name and version          asgi       the application
  serve      uvicorn, the address
"""

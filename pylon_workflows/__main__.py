"""`python -m pylon_workflows` is the console script `pylon-workflows`."""

from pylon_workflows.cli import main

if __name__ == "__main__":
    main()

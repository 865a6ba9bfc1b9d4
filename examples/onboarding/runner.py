"""`python examples/onboarding/runner.py [--port 9876] [--log FILE]`: serve the onboarding workflow."""

import argparse
import os

from workflow import onboarding

from runner_protocol import Runner


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the onboarding workflow.")
    parser.add_argument("--port", type=int, help="0 takes a free one; by default that of PYLON_WORKFLOW_RUNNER_URL")
    parser.add_argument("--log", help="append a JSON line for each step that is executed (also ONBOARDING_LOG)")
    options = parser.parse_args()
    if options.log:
        os.environ["ONBOARDING_LOG"] = options.log
    Runner([onboarding]).serve(options.port)


if __name__ == "__main__":
    main()

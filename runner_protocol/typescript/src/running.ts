/** The steps that run in a turn, side by side: given back in the order in which they ended. */
import type { Defer, Fail, StepComplete, StepSkip } from "./messages.js";
import type { NoteBook } from "./notes.js";
import { type Attempt, runStep } from "./step.js";

/** What has ended, and what its body noted. */
export interface Finished {
  action: StepComplete | StepSkip | Fail | Defer;
  notes: NoteBook | null;
}

export class RunningSteps {
  readonly #turn: object;
  readonly #finished: Finished[] = [];
  /** Of the steps that run; one signal with a listener for each would make Node warn of a leak. */
  readonly #running = new Set<AbortController>();
  #isStopped = false;
  #wake = (): void => undefined;

  constructor(turn: object) {
    this.#turn = turn;
  }

  start(attempt: Attempt): void {
    const controller = new AbortController();
    this.#running.add(controller);
    void runStep(this.#turn, attempt, controller).then((outcome) => {
      this.#running.delete(controller);
      this.add(outcome);
    });
  }

  /** Takes what needed no running as ended now. */
  add(finished: Finished): void {
    this.#finished.push(finished);
    this.#wake();
  }

  /** What has ended first of those not given yet; null when nothing is left, or nobody wants it any more. */
  async next(): Promise<Finished | null> {
    while (this.#finished.length === 0 && this.#running.size > 0 && !this.#isStopped) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.#finished.shift() ?? null;
  }

  /** Tells all bodies that nobody waits for them any more; one that goes on nevertheless is left to itself. */
  stop(reason?: unknown): void {
    this.#isStopped = true;
    for (const controller of this.#running) controller.abort(reason);
    this.#wake();
  }
}

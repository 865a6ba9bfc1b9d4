/** The workflows of a runner: found by name and version, described to the engine. */
import { type DescribedWorkflow, type Description, PROTOCOL_VERSION, type TurnRequest } from "./messages.js";
import { VERSION } from "./version.js";
import type { WorkflowDefinition } from "./workflow.js";

export class Catalog {
  readonly #named = new Map<string, WorkflowDefinition[]>();

  /** Throws when two definitions have one name and one version. */
  constructor(definitions: readonly WorkflowDefinition[]) {
    for (const definition of definitions) {
      const others = this.#named.get(definition.name) ?? [];
      if (others.some(({ version }) => version === definition.version)) {
        throw new TypeError(`two workflows are named '${definition.name}'${of(definition.version)}`);
      }
      this.#named.set(definition.name, [...others, definition]);
    }
  }

  /**
   * The definition that goes on with an instance, or why there is none here.
   *
   * It is the one of the run's version. A workflow that stands alone and without a version goes on with any run: its author has not
   * begun to count. A run without a version goes on with the definition that has none, else with the one given last.
   */
  find({ workflow_name: name, workflow_version: version }: TurnRequest): WorkflowDefinition | string {
    const definitions = this.#named.get(name);
    if (definitions === undefined) return `unknown workflow '${name}'`;
    const found = definitions.find((definition) => definition.version === version);
    const last = definitions.at(-1);
    if (found !== undefined) return found;
    if (last !== undefined && (version === null || (definitions.length === 1 && last.version === null))) return last;
    return `unknown version '${version}' of workflow '${name}'`;
  }

  describe(): Description {
    const workflows = [...this.#named.values()].flat().map(described);
    return { action: "description", protocol: PROTOCOL_VERSION, workflows, kit: `typescript/${VERSION}` };
  }
}

function described({ name, version, description, maxRetries, stepTimeout, inputSchema }: WorkflowDefinition): DescribedWorkflow {
  return { name, version, description, max_retries: maxRetries, step_timeout: stepTimeout, input_schema: inputSchema };
}

function of(version: string | null): string {
  return version === null ? "" : ` in the version '${version}'`;
}

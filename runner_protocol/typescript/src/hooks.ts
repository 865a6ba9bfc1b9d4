/** Hook URLs (PROTOCOL.md section 7): how the URL is made by which one instance is called from outside. */
import { NoHooksError } from "./errors.js";
import { checkName, NameError } from "./keys.js";
import type { TurnRequest } from "./messages.js";
import { hmacSha256 } from "./sha256.js";

const EVENT_PREFIX = "hook:";
/** A call is the event `hook:<name>`, whose name has at most 128 characters too. */
const MAX_LENGTH = 128 - EVENT_PREFIX.length;

/** The event that a call of the hook is. Throws NameError for a name that no URL can carry. */
export function hookEvent(name: unknown): string {
  checkName("hook", name);
  if ([...name].length > MAX_LENGTH) throw new NameError(`a hook's name has at most ${MAX_LENGTH} characters: ${JSON.stringify(name.slice(0, 60))}...`);
  // Whoever follows a URL takes these for folders.
  if (name === "." || name === "..") throw new NameError(`a hook's name is not ${JSON.stringify(name)}, which a URL cannot carry`);
  return EVENT_PREFIX + name;
}

/** The URL of a hook of the request's run. Throws NameError, and NoHooksError when the engine gives out none. */
export function hookUrl({ hooks, workflow_id: id, run }: TurnRequest, name: string): string {
  hookEvent(name);
  if (hooks === null) throw new NoHooksError(`hookUrl('${name}')`);
  const escaped = encodeURIComponent(name).replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
  return `${hooks.base_url}/hook/${id}/${escaped}/${hmacSha256(hooks.key, `${id}:${run}:${name}`)}`;
}

/** A hop to the next macrotask: by then every promise that can go on without the outside world has gone on. */

/** What is used of a MessageChannel; each runtime's types call it differently. */
export interface Channel {
  port1: { onmessage: unknown };
  port2: { postMessage(message: null): void };
}

/** A hop through a message channel, for runtimes without setImmediate. */
export function channelHop(channel: Channel): () => Promise<void> {
  const waiting: (() => void)[] = [];
  channel.port1.onmessage = () => waiting.shift()?.();
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      channel.port2.postMessage(null);
    });
}

/** The runtime's quickest hop. Never setTimeout where there is another way: a thousand hops would take over a second. */
function quickest(): () => Promise<void> {
  // Taken now, so that a test's fake timers put in place later do not stop the replay.
  const { setImmediate, setTimeout } = globalThis;
  if (typeof setImmediate === "function") return () => new Promise((resolve) => void setImmediate(resolve));
  if (typeof MessageChannel === "function") return channelHop(new MessageChannel() as unknown as Channel);
  return () => new Promise((resolve) => void setTimeout(resolve, 0));
}

export const hop: () => Promise<void> = quickest();

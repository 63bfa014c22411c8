// The official TypeScript SDK as an editor: one long conversation with an agent, in which it answers whatever it is asked.
//
//   node talk.mjs '{"command": ["some-agent"], "work": "/folder", "settings": true}'
//   node talk.mjs '{"url": "ws://host/acp", "headers": {}, "protocols": [], "work": "/folder", "settings": true}'
//
// `settings` says whether modes, options and extensions are part of it. Prints one JSON object: the session, every
// message as it was sent, how many came before the first prompt, what the SDK understood of them, and what it complained
// of. The words and questions are those of the agent in tests/support/sdk_agent.py.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { Readable, Writable } from "node:stream";

import { client, methods, ndJsonStream, PROTOCOL_VERSION, RequestError } from "@agentclientprotocol/sdk";
import { createWebSocketStream } from "@agentclientprotocol/sdk/experimental/ws-client";
import { WebSocket } from "ws";

const { command, url, headers, protocols, work, settings } = JSON.parse(process.argv[2]);

const heard = [];
const understood = [];
const mishaps = [];
// The SDK says what it cannot make sense of, and goes on.
console.error = console.warn = (...words) => note(mishaps, words.map(String).join(" "));

function note(list, one) {
  list.push(one);
  woken();
}

// --- who is spoken to

async function connected(talk) {
  if (url) return app.connectWith(tapped(createWebSocketStream(url, { WebSocket, headers, protocols })), talk);

  const agent = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "ignore"] });
  const exited = once(agent, "exit");
  const stream = ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
  await talk(app.connect(tapped(stream)).agent);
  agent.stdin.end();
  const [status] = await exited;
  if (status !== 0) throw new Error(`the agent's exit status is ${status}`);
}

// The same stream; what comes in is kept before the SDK sees it.
function tapped({ readable, writable }) {
  const tap = new TransformStream({
    transform(message, out) {
      note(heard, structuredClone(message));
      out.enqueue(message);
    },
  });
  return { readable: readable.pipeThrough(tap), writable };
}

let woken = () => {};

async function until(isSo) {
  while (!isSo()) await new Promise((resolve) => (woken = resolve));
}

const kinds = () => heard.filter((one) => one.method === "session/update").map((one) => one.params.update.sessionUpdate);

// --- what is answered

const files = new Map();
const killed = new Set();
let terminals = 0;

const chosen = {
  Reject: { outcome: "selected", optionId: "reject" },
  Cancel: { outcome: "cancelled" },
};

const app = client({ name: "sdk" })
  .onNotification(methods.client.session.update, ({ params }) => {
    note(understood, params.update.sessionUpdate);
  })
  .onRequest(methods.client.session.requestPermission, ({ params }) => {
    note(understood, `permission ${params.toolCall.title}`);
    return { outcome: chosen[params.toolCall.title] ?? { outcome: "selected", optionId: "allow" } };
  })
  .onRequest(methods.client.fs.readTextFile, ({ params }) => {
    note(understood, `read ${params.path}`);
    if (!files.has(params.path)) throw RequestError.resourceNotFound(params.path);
    return { content: files.get(params.path) };
  })
  .onRequest(methods.client.fs.writeTextFile, ({ params }) => {
    note(understood, `write ${params.path}`);
    files.set(params.path, params.content);
    return {};
  })
  .onRequest(methods.client.terminal.create, ({ params }) => {
    note(understood, `create ${params.command} ${params.args}`);
    return { terminalId: `terminal-${++terminals}` };
  })
  .onRequest(methods.client.terminal.output, ({ params }) => {
    note(understood, `output ${params.terminalId}`);
    return { output: `output of ${params.terminalId}\n`, truncated: false };
  })
  .onRequest(methods.client.terminal.waitForExit, ({ params }) => {
    note(understood, `wait ${params.terminalId}`);
    return killed.has(params.terminalId) ? { signal: "SIGKILL" } : { exitCode: 0 };
  })
  .onRequest(methods.client.terminal.kill, ({ params }) => {
    note(understood, `kill ${params.terminalId}`);
    killed.add(params.terminalId);
    return {};
  })
  .onRequest(methods.client.terminal.release, ({ params }) => {
    note(understood, `release ${params.terminalId}`);
    return {};
  })
  .onRequest(methods.client.elicitation.create, ({ params }) => {
    note(understood, `elicit ${params.message}`);
    return params.message === "Decline" ? { action: "decline" } : { action: "accept", content: { name: "Ada", age: 36 } };
  })
  .onRequest("*", ({ method, params }) => {
    note(understood, `request ${method}`);
    return { echo: params };
  })
  .onNotification("*", ({ method }) => {
    note(understood, `notification ${method}`);
  });

// --- what is said

const told = { heard, understood, mishaps };

async function conversation(to) {
  await to.request(methods.agent.initialize, {
    protocolVersion: PROTOCOL_VERSION,
    clientInfo: { name: "sdk", version: "1" },
    clientCapabilities: {
      fs: { readTextFile: true, writeTextFile: true },
      terminal: true,
      elicitation: { form: {} },
    },
  });
  const { sessionId } = await to.request(methods.agent.session.new, { cwd: work, mcpServers: [] });
  const prompt = (text) => to.request(methods.agent.session.prompt, { sessionId, prompt: [{ type: "text", text }] });
  told.session = sessionId;

  // The usage before the answer and the commands after it: then the set-up is over.
  await until(() => kinds().length === 2);
  told.setUp = heard.length;

  await prompt("show me");
  await prompt("ask me");
  if (settings) {
    await to.request(methods.agent.session.setMode, { sessionId, modeId: "code" });
    await to.request(methods.agent.session.setConfigOption, { sessionId, configId: "model", value: "large" });
    await to.request("_x/ask", { sessionId, n: 1.5 });
    await to.request("_x/ask", { n: 2 });
  }

  const before = kinds().length;
  const working = prompt("work");
  await until(() => kinds().length > before);
  await to.notify(methods.agent.session.cancel, { sessionId });
  await working;

  told.error = await prompt("fail").then(() => null, (error) => error.message);
  await prompt("bye");
  await until(() => kinds().at(-1) === "usage_update");
  // A message is heard before the SDK has made something of it.
  await until(() => understood.length + mishaps.length >= heard.filter((one) => "method" in one).length);
}

await connected(conversation);
process.stdout.write(JSON.stringify(told));

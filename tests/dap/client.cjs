// VS Code's own test client of debug adapters drives `kobox debug --dap`, in the order in which VS Code asks.
//
//     node client.cjs ADAPTER JOURNAL.KO JOURNAL.C       ADAPTER: a program that starts `kobox debug --dap`
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const { DebugClient } = require("@vscode/debugadapter-testsupport");

const [adapter, program, source] = process.argv.slice(2);
const client = new DebugClient("/bin/sh", adapter, "kobox");
client.defaultTimeout = 240000;

async function session() {
  const lines = fs.readFileSync(source, "utf8").split("\n");
  const line = lines.findIndex((text) => text.includes("entry->number = ++written")) + 1;
  await client.start();
  const can = await client.initializeRequest({
    clientID: "vscode", clientName: "Visual Studio Code", adapterID: "kobox", pathFormat: "path",
    linesStartAt1: true, columnsStartAt1: true, supportsVariableType: true, supportsVariablePaging: true,
    supportsRunInTerminalRequest: true, locale: "en", supportsProgressReporting: true,
    supportsInvalidatedEvent: true, supportsMemoryReferences: true,
  });
  assert(can.body.supportsStepBack && can.body.supportsDataBreakpoints && can.body.supportsSetVariable);

  // VS Code does not wait for the answer to `launch`: it configures as soon as it hears `initialized`.
  const initialized = client.waitForEvent("initialized");
  const launched = client.launchRequest({
    program, commands: ["echo -n one > /dev/journal", "echo -n two > /dev/journal"], stopOnEntry: true,
  });
  await initialized;
  const placed = await client.setBreakpointsRequest({
    source: { path: source }, breakpoints: [{ line }], lines: [line], sourceModified: false,
  });
  assert.deepEqual([placed.body.breakpoints[0].verified, placed.body.breakpoints[0].line], [true, line]);
  await client.setFunctionBreakpointsRequest({ breakpoints: [] });
  await client.setExceptionBreakpointsRequest({ filters: [] });
  let stopped = client.waitForEvent("stopped");
  await client.configurationDoneRequest({});
  await launched;
  let stop = await stopped;
  assert.equal(stop.body.reason, "entry");

  async function top(thread) {
    await client.threadsRequest();
    const first = await client.stackTraceRequest({ threadId: thread, startFrame: 0, levels: 1 });
    await client.stackTraceRequest({ threadId: thread, startFrame: 1, levels: 19 });
    return first.body.stackFrames[0];
  }
  async function after(request) {
    stopped = client.waitForEvent("stopped");
    await request();
    stop = await stopped;
    return [stop.body.reason, (await top(stop.body.threadId)).name];
  }
  const thread = () => ({ threadId: stop.body.threadId });

  assert.deepEqual(await after(() => client.continueRequest(thread())), ["breakpoint", "add_entry"]);
  const frame = await top(stop.body.threadId);
  assert.equal(frame.source.path, source);
  const scopes = await client.scopesRequest({ frameId: frame.id });
  const [locals, registers] = scopes.body.scopes;
  const names = (await client.variablesRequest(locals)).body.variables;
  const word = names.find((row) => row.name === "word");
  assert.match(word.value, /"one/);
  assert((await client.variablesRequest(registers)).body.variables.some((row) => row.name === "rip"));
  const watched = await client.evaluateRequest({ expression: "written", frameId: frame.id, context: "watch" });
  assert.equal(watched.body.result, "0");
  const hover = await client.evaluateRequest({ expression: "journal_device", frameId: frame.id, context: "hover" });
  const minor = (await client.variablesRequest(hover.body)).body.variables.find((row) => row.name === "minor");

  // "Break on value change", of a global and of a member; then forwards and backwards to who changed it.
  const info = await client.dataBreakpointInfoRequest({ name: "written", frameId: frame.id });
  assert.match(info.body.dataId, /^0x[0-9a-f]+:4$/);
  const member = await client.dataBreakpointInfoRequest({
    variablesReference: hover.body.variablesReference, name: "minor",
  });
  assert.match(member.body.dataId, /:4$/);
  const none = await client.dataBreakpointInfoRequest({ name: "1 + 1", frameId: frame.id });
  assert.equal(none.body.dataId, null);
  await client.setBreakpointsRequest({ source: { path: source }, breakpoints: [] });
  const data = await client.setDataBreakpointsRequest({
    breakpoints: [{ dataId: info.body.dataId, accessType: "write" }],
  });
  assert(data.body.breakpoints[0].verified);
  assert.deepEqual(await after(() => client.continueRequest(thread())), ["data breakpoint", "add_entry"]);
  assert.deepEqual(await after(() => client.reverseContinueRequest(thread())), ["data breakpoint", "add_entry"]);
  await client.setDataBreakpointsRequest({ breakpoints: [] });

  assert.equal((await after(() => client.nextRequest(thread())))[0], "step");
  assert.equal((await after(() => client.stepBackRequest(thread())))[0], "step");
  assert.equal((await after(() => client.nextRequest({ ...thread(), granularity: "instruction" })))[0], "step");
  await client.setFunctionBreakpointsRequest({ breakpoints: [{ name: "add_entry", hitCondition: "1" }] });
  assert.deepEqual(await after(() => client.continueRequest(thread())), ["breakpoint", "add_entry"]);
  const second = await top(stop.body.threadId);
  const written = await client.evaluateRequest({ expression: "written", frameId: second.id, context: "repl" });
  assert.match(written.body.result, /.*/);
  const scope = (await client.scopesRequest({ frameId: second.id })).body.scopes[1];
  const set = await client.setVariableRequest({
    variablesReference: scope.variablesReference, name: "r15", value: "7",
  });
  assert.match(set.body.value, /7/);
  assert.equal((await after(() => client.stepOutRequest(thread())))[1], "journal_write");
  assert(minor.value.length > 0);
  await client.disconnectRequest({ restart: false });
}

session().then(
  () => { console.log("ok: the session is as it should be"); process.exit(0); },
  (error) => { console.error(error); client.stop().finally(() => process.exit(1)); },
);
